// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Clones} from "@openzeppelin/contracts/proxy/Clones.sol";
import {Claim} from "./Claim.sol";
import {Inbox} from "./Inbox.sol";
import {Leaf} from "./Leaf.sol";
import {Tournament} from "./Tournament.sol";
import {Header} from "../lib/Header.sol";

/// @notice Which states of L2 are claimed, and which have settled (spec/settlement.md). It has no owner and no parameter that
///         changes. To the OP Stack's tools it is `DisputeGameFactory` and `AnchorStateRegistry`.
contract Claims {
    enum RangeStatus {
        None,
        Open,
        Settled,
        WithoutSurvivor
    }

    enum ClaimStatus {
        InProgress,
        Beaten,
        Settled
    }

    /// @notice What a commitment's last leaf says. With an empty header it is the FAULT of leaf `faultOf`.
    struct Output {
        bytes header;
        uint64 record;
        uint64 block;
        uint64 forced;
        bytes32 faultOf;
    }

    struct ClaimView {
        uint256 range;
        bytes32 commitment;
        bytes32 leaf;
        bytes32 outputRoot;
        uint64 l2Block;
        uint64 createdAt;
        uint64 resolvedAt;
        ClaimStatus status;
        address game;
    }

    /// @notice A claim as `findLatestGames` lists it.
    struct GameSearchResult {
        uint256 index;
        bytes32 metadata;
        uint64 timestamp;
        bytes32 rootClaim;
        bytes extraData;
    }

    /// @dev `winner` is one more than the number of the settled claim.
    struct Range {
        uint64 end;
        uint64 opened;
        uint64 closed;
        uint48 winner;
        RangeStatus status;
    }

    /// @dev The newest settled leaf.
    struct Settlement {
        bytes32 leaf;
        bytes32 outputRoot;
        uint64 record;
        uint64 l2Block;
        uint64 range;
        uint64 end;
    }

    /// @dev `newest` is the range opened last.
    struct Openings {
        uint64 last;
        uint64 newest;
        uint8 count;
        bool faulted;
    }

    /// @notice What the OP Stack's tools take for the kind of game: "PO".
    uint32 public constant GAME_TYPE = 20_559;
    /// @notice Most ranges that are open at once.
    uint256 public constant MAX_OPEN = 8;

    uint256 private constant CLONE_LENGTH = 45 + 256;

    Inbox public immutable inbox;
    Tournament public immutable tournament;
    /// @notice Least seconds between two openings.
    uint64 public immutable claimInterval;
    /// @notice Seconds in which a range can be joined.
    uint64 public immutable challengeWindow;
    address private immutable CLAIM;

    Settlement private _settled;
    Openings private _openings;
    uint64[MAX_OPEN] private _open;
    mapping(uint256 range => Range) private _ranges;
    address[] private _games;
    /// One more than the claim's number.
    mapping(uint256 range => mapping(bytes32 commitment => uint256)) private _claims;

    event Opened(uint256 indexed range, bytes32 start, uint64 end);
    event Claimed(
        uint256 indexed index,
        uint256 indexed range,
        bytes32 indexed leaf,
        address game,
        address claimer,
        bytes32 commitment,
        bytes32 outputRoot,
        uint64 l2Block,
        uint64 record,
        uint64 block,
        uint64 forced
    );
    event DisputeGameCreated(address indexed disputeProxy, uint32 indexed gameType, bytes32 indexed rootClaim);
    event Settled(uint256 indexed range, uint256 indexed index, bytes32 leaf);
    event ClosedWithoutSurvivor(uint256 indexed range);
    event Faulted(uint256 indexed range, bytes32 leaf);

    /// The header is not that of L2's genesis.
    error NotGenesis(bytes32 headerHash);
    /// The tournament is another's.
    error ForeignTournament();
    /// A FAULT has settled.
    error HasFaulted();
    /// The next range may be opened at `opens`.
    error TooEarly(uint256 opens);
    error TooManyOpen();
    /// Every record is settled or in the newest open range.
    error NothingNew();
    error NotOpen(uint256 range);
    error UnknownClaim(uint256 index);
    error UnknownGame(address game);

    constructor(Inbox inbox_, Tournament tournament_, uint64 claimInterval_, bytes memory genesisHeader) {
        if (keccak256(genesisHeader) != inbox_.genesisHash()) revert NotGenesis(keccak256(genesisHeader));
        inbox = inbox_;
        tournament = tournament_;
        claimInterval = claimInterval_;
        Tournament.Settings memory settings = tournament_.parameters();
        if (settings.claims != address(this) || settings.inbox != address(inbox_)) revert ForeignTournament();
        challengeWindow = settings.challengeWindow;
        CLAIM = address(new Claim());
        (bytes32 outputRoot,) = Header.outputOf(genesisHeader);
        _settled.outputRoot = outputRoot;
        _settled.leaf = Leaf.hash(outputRoot, 0, 0, 0);
    }

    /// @notice Opens the range from the newest settled leaf to the newest record.
    /// @return id Number of the range, and of its tournament.
    function open() external returns (uint256 id) {
        Openings memory openings = _openings;
        if (openings.faulted) revert HasFaulted();
        if (openings.last != 0 && block.timestamp < uint256(openings.last) + claimInterval) {
            revert TooEarly(uint256(openings.last) + claimInterval);
        }
        if (openings.count == MAX_OPEN) revert TooManyOpen();
        uint64 end = uint64(inbox.recordCount());
        // No range was opened after the newest one, and records only grow: no other open range can have this end.
        Range storage newest = _ranges[openings.newest];
        if (_settled.record >= end || (newest.status == RangeStatus.Open && newest.end == end)) revert NothingNew();

        bytes32 start = _settled.leaf;
        id = tournament.open(start, end);
        _open[openings.count] = uint64(id);
        _openings = Openings(uint64(block.timestamp), uint64(id), openings.count + 1, false);
        _ranges[id] = Range(end, uint64(block.timestamp), 0, 0, RangeStatus.Open);
        emit Opened(id, start, end);
    }

    /// @notice Joins a range's tournament with a commitment whose last leaf is `output`, for a bond.
    /// @param path Siblings of the last leaf, from its own up.
    /// @return index Number of the claim.
    function join(uint256 id, bytes32[] calldata path, Output calldata output)
        external
        payable
        returns (uint256 index)
    {
        if (_ranges[id].status != RangeStatus.Open) revert NotOpen(id);
        index = _games.length;
        Claim.Details memory d;
        d.index = uint64(index);
        d.range = uint64(id);
        d.record = output.record;
        d.createdAt = uint64(block.timestamp);
        if (output.header.length == 0) {
            d.leaf = Leaf.fault(output.faultOf);
        } else {
            (d.outputRoot, d.l2Block) = Header.outputOf(output.header);
            d.leaf = Leaf.hash(d.outputRoot, output.record, output.block, output.forced);
        }
        d.commitment = tournament.enter{value: msg.value}(id, msg.sender, d.leaf, path);

        address game = Clones.cloneWithImmutableArgs(CLAIM, abi.encode(d));
        _games.push(game);
        _claims[id][d.commitment] = index + 1;
        emit DisputeGameCreated(game, GAME_TYPE, d.outputRoot);
        emit Claimed(
            index,
            id,
            d.leaf,
            game,
            msg.sender,
            d.commitment,
            d.outputRoot,
            d.l2Block,
            output.record,
            output.block,
            output.forced
        );
    }

    /// @notice Closes a range whose tournament is over and settles what survived.
    /// @return survivor The surviving commitment; zero if there is none.
    function settle(uint256 id) external returns (bytes32 survivor) {
        Range storage r = _ranges[id];
        if (r.status != RangeStatus.Open) revert NotOpen(id);
        survivor = tournament.finish(id, msg.sender);
        r.closed = uint64(block.timestamp);
        _forget(id);

        uint256 winner = _claims[id][survivor];
        // Once a FAULT has settled nothing else does, but bonds are still paid back.
        if (winner == 0 || _openings.faulted) {
            r.status = RangeStatus.WithoutSurvivor;
            emit ClosedWithoutSurvivor(id);
            return survivor;
        }
        r.status = RangeStatus.Settled;
        r.winner = uint48(winner);
        Claim.Details memory d = _details(_games[winner - 1]);
        emit Settled(id, winner - 1, d.leaf);
        if (d.outputRoot == 0) {
            _openings.faulted = true;
            emit Faulted(id, d.leaf);
        } else if (r.end > _settled.end) {
            _settled = Settlement(d.leaf, d.outputRoot, d.record, d.l2Block, d.range, r.end);
        }
    }

    /// @notice The newest settled leaf, and the range that it is the result of: 0 for genesis.
    function settled()
        external
        view
        returns (bytes32 leaf, bytes32 outputRoot, uint64 record, uint64 l2Block, uint256 id)
    {
        Settlement memory s = _settled;
        return (s.leaf, s.outputRoot, s.record, s.l2Block, s.range);
    }

    /// @notice Whether a FAULT has settled: nothing settles any more, and no range opens.
    function faulted() external view returns (bool) {
        return _openings.faulted;
    }

    /// @notice L1 time at which the newest range was opened; zero before the first.
    function lastOpened() external view returns (uint64) {
        return _openings.last;
    }

    /// @notice Ranges that are open, in no order.
    function openRanges() external view returns (uint256[] memory ranges) {
        ranges = new uint256[](_openings.count);
        for (uint256 i; i < ranges.length; ++i) ranges[i] = _open[i];
    }

    /// @param end Number of records at the opening: the range ends before it.
    /// @param endAccumulator `acc(end - 1)`.
    function range(uint256 id)
        external
        view
        returns (bytes32 start, uint64 end, bytes32 endAccumulator, uint64 opened, RangeStatus status)
    {
        Range memory r = _ranges[id];
        if (r.status == RangeStatus.None) return (0, 0, 0, 0, RangeStatus.None);
        return (tournament.tournament(id).start, r.end, inbox.accumulator(r.end - 1), r.opened, r.status);
    }

    /// @notice When a range can be settled if it has at most one claim.
    function undisputedUntil(uint256 id) external view returns (uint64) {
        return _ranges[id].opened + challengeWindow;
    }

    function claim(uint256 index) public view returns (ClaimView memory) {
        if (index >= _games.length) revert UnknownClaim(index);
        address game = _games[index];
        Claim.Details memory d = _details(game);
        return ClaimView(
            d.range,
            d.commitment,
            d.leaf,
            d.outputRoot,
            d.l2Block,
            d.createdAt,
            _ranges[d.range].closed,
            _status(d),
            game
        );
    }

    /// @notice Number of the claim that `game` is; reverts if it is none.
    function claimOf(address game) external view returns (uint256) {
        if (!isGameRespected(game)) revert UnknownGame(game);
        return _details(game).index;
    }

    /// @notice Whether the claim has lost. It need not wait for its range: a commitment that lost a match never comes back.
    function isBeaten(uint256 index) external view returns (bool) {
        return claim(index).status == ClaimStatus.Beaten;
    }

    /// @notice Whether the claim has settled, or `settle` would do it now.
    function isSettleable(uint256 index) public view returns (bool) {
        if (index >= _games.length) revert UnknownClaim(index);
        Claim.Details memory d = _details(_games[index]);
        Range memory r = _ranges[d.range];
        if (r.status != RangeStatus.Open) return r.winner == index + 1;
        (bool over, bytes32 survivor) = tournament.isOver(d.range);
        return over && survivor == d.commitment && !_openings.faulted;
    }

    /// @notice Number of claims.
    function gameCount() external view returns (uint256) {
        return _games.length;
    }

    function gameAtIndex(uint256 index) external view returns (uint32 gameType, uint64 timestamp, address proxy) {
        if (index >= _games.length) revert UnknownClaim(index);
        proxy = _games[index];
        return (GAME_TYPE, _details(proxy).createdAt, proxy);
    }

    /// @notice The claim of the newest settled leaf, then the others from `start` down, `n` at most, without beaten ones and
    ///         FAULTs. Who takes the first that is new enough proves against what is final, if that can be.
    function findLatestGames(uint32 gameType, uint256 start, uint256 n)
        external
        view
        returns (GameSearchResult[] memory games)
    {
        uint256 count = _games.length;
        if (gameType != GAME_TYPE || start >= count || n == 0) return games;
        games = new GameSearchResult[](n < count ? n : count);
        uint256 found;
        uint256 newest = _ranges[_settled.range].winner;
        if (newest != 0) games[found++] = _result(_details(_games[newest - 1]));
        for (uint256 i = start + 1; i > 0 && found < games.length; --i) {
            if (i == newest) continue;
            Claim.Details memory d = _details(_games[i - 1]);
            if (d.outputRoot == 0 || _status(d) == ClaimStatus.Beaten) continue;
            games[found++] = _result(d);
        }
        assembly ("memory-safe") {
            mstore(games, found)
        }
    }

    /// @notice Whether `game` is a claim that is not beaten.
    function isGameProper(address game) external view returns (bool) {
        return isGameRespected(game) && _status(_details(game)) != ClaimStatus.Beaten;
    }

    /// @notice Whether `game` is a claim.
    function isGameRespected(address game) public view returns (bool) {
        if (game.code.length != CLONE_LENGTH) return false;
        uint256 index = _details(game).index;
        return index < _games.length && _games[index] == game;
    }

    /// @notice Whether `game` is a claim that has settled.
    function isGameFinalized(address game) external view returns (bool) {
        return isGameRespected(game) && _status(_details(game)) == ClaimStatus.Settled;
    }

    /// @notice Whether `game` is a claim that has settled or can be settled now.
    function isGameClaimValid(address game) external view returns (bool) {
        return isGameRespected(game) && isSettleable(_details(game).index);
    }

    function _status(Claim.Details memory d) private view returns (ClaimStatus) {
        Range memory r = _ranges[d.range];
        if (r.status == RangeStatus.Open) {
            return tournament.commitment(d.range, d.commitment).alive ? ClaimStatus.InProgress : ClaimStatus.Beaten;
        }
        return r.winner == uint256(d.index) + 1 ? ClaimStatus.Settled : ClaimStatus.Beaten;
    }

    function _result(Claim.Details memory d) private view returns (GameSearchResult memory) {
        uint256 metadata = uint256(GAME_TYPE) << 224 | uint256(d.createdAt) << 160 | uint160(_games[d.index]);
        return GameSearchResult(d.index, bytes32(metadata), d.createdAt, d.outputRoot, abi.encode(d.l2Block));
    }

    function _details(address game) private view returns (Claim.Details memory) {
        return abi.decode(Clones.fetchCloneArgs(game), (Claim.Details));
    }

    /// @dev Takes `range_` from the list of open ones; the last takes its place.
    function _forget(uint256 range_) private {
        uint8 last = --_openings.count;
        for (uint256 i; i < last; ++i) {
            if (_open[i] == range_) {
                _open[i] = _open[last];
                break;
            }
        }
        _open[last] = 0;
    }
}
