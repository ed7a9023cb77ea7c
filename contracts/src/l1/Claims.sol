// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Clones} from "@openzeppelin/contracts/proxy/Clones.sol";
import {RLP} from "@openzeppelin/contracts/utils/RLP.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
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

    /// @dev The newest settled leaf.
    struct Settlement {
        bytes32 leaf;
        bytes32 outputRoot;
        uint64 l2Block;
        uint64 range;
        uint64 end;
    }

    /// @dev The newest range, when it was opened and where it ends; the record of the newest settled leaf; the numbers of
    ///      claims and of open ranges.
    struct Counters {
        uint40 opened;
        uint48 end;
        uint48 record;
        uint32 range;
        uint32 claims;
        uint8 open;
        bool faulted;
    }

    /// @dev What Claims alone keeps of a claim; `number` is one more than its index, `settledAt` zero until it settles.
    struct Entry {
        uint32 number;
        uint64 l2Block;
        uint48 record;
        uint64 createdAt;
        uint48 settledAt;
    }

    /// @notice What the OP Stack's tools take for the kind of game: "PO".
    uint32 public constant GAME_TYPE = 20_559;
    /// @notice Most ranges that are open at once.
    uint256 public constant MAX_OPEN = 8;

    /// EIP-1167's code, and `Claim.Details` after it.
    uint256 private constant CLONE_LENGTH = 45 + 68;

    Inbox public immutable inbox;
    Tournament public immutable tournament;
    /// @notice Least seconds between two openings.
    uint64 public immutable claimInterval;
    /// @notice Seconds in which a range can be joined.
    uint64 public immutable challengeWindow;
    address private immutable CLAIM;

    Settlement private _settled;
    Counters private _counters;
    /// When ranges were closed without a survivor.
    mapping(uint256 range => uint64) private _closed;
    /// The range before one, if it has not the number before: numbers between are of tournaments below matches.
    mapping(uint256 range => uint256) private _before;
    mapping(uint256 range => mapping(bytes32 commitment => Entry)) private _entries;

    /// The Tournament's `Opened` has the start.
    event Opened(uint256 indexed range, uint64 end);
    event Claimed(
        uint256 indexed index,
        uint256 indexed range,
        bytes32 indexed leaf,
        address game,
        address claimer,
        bytes32 commitment,
        bytes32 outputRoot,
        uint64 l2Block,
        uint64 record
    );
    event Settled(uint256 indexed range, uint256 indexed index, bytes32 leaf);
    event ClosedWithoutSurvivor(uint256 indexed range);
    event Faulted(uint256 indexed range, bytes32 leaf);

    /// The header is not that of L2's genesis.
    error NotGenesis(bytes32 headerHash);
    /// The tournament is another's.
    error ForeignTournament();
    /// `claimInterval` is less than an eighth of the challenge window.
    error IntervalTooShort();
    /// A FAULT has settled.
    error HasFaulted();
    /// The next range may be opened at `opens`.
    error TooEarly(uint256 opens);
    error TooManyOpen();
    /// Every record is settled or in the newest open range.
    error NothingNew();
    /// The range has another start or end.
    error OtherRange();
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
        // Else open ranges that nobody disputes could keep the next from opening.
        if (uint256(claimInterval_) * MAX_OPEN < challengeWindow) revert IntervalTooShort();
        CLAIM = address(new Claim());
        (bytes32 outputRoot,) = Header.outputOf(genesisHeader);
        _settled.outputRoot = outputRoot;
        _settled.leaf = Leaf.hash(outputRoot, 0, 0, 0);
    }

    /// @notice Opens the range from the newest settled leaf to the newest record.
    /// @return id Number of the range, and of its tournament.
    function open() external returns (uint256 id) {
        Counters memory c = _counters;
        if (c.faulted) revert HasFaulted();
        if (c.range != 0 && block.timestamp < uint256(c.opened) + claimInterval) {
            revert TooEarly(uint256(c.opened) + claimInterval);
        }
        if (c.open == MAX_OPEN) revert TooManyOpen();
        uint48 end = SafeCast.toUint48(inbox.recordCount());
        // Records only grow: if an open range ends here, the newest one does.
        if (c.record >= end || (c.end == end && _isOpen(c.range))) revert NothingNew();

        id = tournament.open(_settled.leaf, end);
        if (id != uint256(c.range) + 1) _before[id] = c.range;
        (c.opened, c.end, c.range) = (uint40(block.timestamp), end, SafeCast.toUint32(id));
        ++c.open;
        _counters = c;
        emit Opened(id, end);
    }

    /// @notice Joins a range's tournament with a commitment whose last leaf is `output`, for a bond.
    /// @param start The range's, which with its end accumulator is what the commitment was computed for: another range may
    ///        have got the number if L1 was reorganised.
    /// @param path Siblings of the last leaf, from its own up.
    /// @return index Number of the claim.
    function join(
        uint256 id,
        bytes32 start,
        bytes32 endAccumulator,
        bytes32[] calldata path,
        Output calldata output
    ) external payable returns (uint256 index) {
        Claim.Details memory d;
        // No true leaf's record is higher.
        d.record = SafeCast.toUint48(output.record);
        bytes32 leaf;
        (d.outputRoot, d.l2Block, leaf) = _opened(output);
        d.commitment = _enter(id, start, endAccumulator, leaf, path);
        index = _counters.claims++;
        _entries[id][d.commitment] = Entry(uint32(index + 1), d.l2Block, d.record, uint64(block.timestamp), 0);
        // The nth contract that this one creates: `_game` knows its address.
        address game =
            Clones.cloneWithImmutableArgs(CLAIM, abi.encodePacked(d.outputRoot, d.commitment, uint32(id)));
        emit Claimed(
            index,
            id,
            leaf,
            game,
            msg.sender,
            d.commitment,
            d.outputRoot,
            d.l2Block,
            d.record
        );
    }

    /// @notice Closes a range whose tournament is over and settles what survived.
    /// @return survivor The surviving commitment; zero if there is none.
    function settle(uint256 id) external returns (bytes32 survivor) {
        bytes32 leaf;
        uint64 end;
        // Of an open range only: a tournament of level 0 that has not been closed.
        (survivor, leaf, end) = tournament.finish(id, msg.sender);
        Counters memory c = _counters;
        --c.open;
        Entry memory entry = _entries[id][survivor];
        // Once a FAULT has settled nothing else does, but bonds are still paid back.
        if (entry.number == 0 || c.faulted) {
            _counters = c;
            _closed[id] = uint64(block.timestamp);
            emit ClosedWithoutSurvivor(id);
            return survivor;
        }
        _entries[id][survivor].settledAt = uint48(block.timestamp);
        emit Settled(id, entry.number - 1, leaf);
        (bytes32 outputRoot,,) = _said(_game(entry.number - 1));
        if (outputRoot == 0) {
            c.faulted = true;
            emit Faulted(id, leaf);
        } else if (end > _settled.end) {
            _settled = Settlement(leaf, outputRoot, entry.l2Block, uint64(id), end);
            c.record = entry.record;
        }
        _counters = c;
    }

    /// @notice The newest settled leaf, and the range that it is the result of: 0 for genesis.
    function settled()
        external
        view
        returns (bytes32 leaf, bytes32 outputRoot, uint64 record, uint64 l2Block, uint256 id)
    {
        Settlement memory s = _settled;
        return (s.leaf, s.outputRoot, _counters.record, s.l2Block, s.range);
    }

    /// @notice Whether a FAULT has settled: nothing settles any more, and no range opens.
    function faulted() external view returns (bool) {
        return _counters.faulted;
    }

    /// @notice L1 time at which the newest range was opened; zero before the first.
    function lastOpened() external view returns (uint64) {
        return _counters.opened;
    }

    /// @notice Ranges that are open, the newest first. For calls from outside: it looks at every range since the oldest.
    function openRanges() external view returns (uint256[] memory ranges) {
        ranges = new uint256[](_counters.open);
        uint256 id = _counters.range;
        for (uint256 i; i < ranges.length;) {
            if (_isOpen(id)) ranges[i++] = id;
            uint256 before = _before[id];
            id = before == 0 ? id - 1 : before;
        }
    }

    /// @param end Number of records at the opening: the range ends before it.
    /// @param endAccumulator `acc(end - 1)`.
    function range(uint256 id)
        external
        view
        returns (bytes32 start, uint64 end, bytes32 endAccumulator, uint64 opened, RangeStatus status)
    {
        if (id == 0 || id > _counters.range) return (0, 0, 0, 0, status);
        Tournament.TournamentView memory t = tournament.tournament(id);
        // A child's.
        if (t.level != 0) return (0, 0, 0, 0, status);
        if (!t.closed) status = RangeStatus.Open;
        else status = _closed[id] == 0 ? RangeStatus.Settled : RangeStatus.WithoutSurvivor;
        return (t.start, t.end, inbox.accumulator(t.end - 1), t.opened, status);
    }

    /// @notice When a range can be settled if it has at most one claim.
    function undisputedUntil(uint256 id) external view returns (uint64) {
        return tournament.tournament(id).opened + challengeWindow;
    }

    function claim(uint256 index) public view returns (ClaimView memory) {
        address game = _known(index);
        Claim.Details memory d = _details(game);
        return ClaimView(
            d.range,
            d.commitment,
            tournament.commitment(d.range, d.commitment).last,
            d.outputRoot,
            d.l2Block,
            d.createdAt,
            _resolvedAt(d),
            _status(d),
            game
        );
    }

    /// @notice Number of the claim that `game` is; reverts if it is none.
    function claimOf(address game) external view returns (uint256) {
        if (!isGameRespected(game)) revert UnknownGame(game);
        return _details(game).number - 1;
    }

    /// @notice Whether the claim has lost. It need not wait for its range: a commitment that lost a match never comes back.
    function isBeaten(uint256 index) external view returns (bool) {
        return claim(index).status == ClaimStatus.Beaten;
    }

    /// @notice Whether the claim has settled, or `settle` would do it now.
    function isSettleable(uint256 index) public view returns (bool) {
        Claim.Details memory d = _details(_known(index));
        if (d.settledAt != 0) return true;
        (bool over, bytes32 survivor) = tournament.isOver(d.range);
        return over && survivor == d.commitment && !_counters.faulted;
    }

    /// @notice The range of a claim that has not settled but can be settled now; zero for any other.
    function settleable(address game) external view returns (uint256 id) {
        if (!isGameRespected(game)) return 0;
        Claim.Details memory d = _details(game);
        (bool over, bytes32 survivor) = tournament.isOver(d.range);
        if (d.settledAt == 0 && over && survivor == d.commitment && !_counters.faulted) id = d.range;
    }

    /// @notice Number of claims.
    function gameCount() external view returns (uint256) {
        return _counters.claims;
    }

    function gameAtIndex(uint256 index) external view returns (uint32 gameType, uint64 timestamp, address proxy) {
        proxy = _known(index);
        return (GAME_TYPE, _details(proxy).createdAt, proxy);
    }

    /// @notice The claim of the newest settled leaf, then the others from `start` down, `n` at most, without beaten ones and
    ///         FAULTs. Who takes the first that is new enough proves against what is final, if that can be.
    function findLatestGames(uint32 gameType, uint256 start, uint256 n)
        external
        view
        returns (GameSearchResult[] memory games)
    {
        uint256 count = _counters.claims;
        if (gameType != GAME_TYPE || start >= count || n == 0) return games;
        games = new GameSearchResult[](n < count ? n : count);
        uint256 found;
        uint256 newest = _settled.range == 0 ? 0 : _winner(_settled.range).number;
        if (newest != 0) games[found++] = _result(_details(_game(newest - 1)));
        for (uint256 i = start + 1; i > 0 && found < games.length; --i) {
            if (i == newest) continue;
            Claim.Details memory d = _details(_game(i - 1));
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
        Claim.Details memory d = _details(game);
        return d.number != 0 && _game(d.number - 1) == game;
    }

    /// @notice Whether `game` is a claim that has settled.
    function isGameFinalized(address game) external view returns (bool) {
        return isGameRespected(game) && _status(_details(game)) == ClaimStatus.Settled;
    }

    /// @notice Whether `game` is a claim that has settled or can be settled now.
    function isGameClaimValid(address game) external view returns (bool) {
        return isGameRespected(game) && isSettleable(_details(game).number - 1);
    }

    function _enter(uint256 id, bytes32 start, bytes32 endAccumulator, bytes32 leaf, bytes32[] calldata path)
        private
        returns (bytes32 root)
    {
        bytes32 from;
        uint64 end;
        (root, from, end) = tournament.enter{value: msg.value}(id, msg.sender, leaf, path);
        if (from != start || inbox.accumulator(end - 1) != endAccumulator) revert OtherRange();
    }

    /// @dev What an output says: its output root and block number (zero for a FAULT), and the leaf that it is.
    function _opened(Output calldata output) private pure returns (bytes32 outputRoot, uint64 l2Block, bytes32 leaf) {
        if (output.header.length == 0) return (0, 0, Leaf.fault(output.faultOf));
        (outputRoot, l2Block) = Header.outputOf(output.header);
        leaf = Leaf.hash(outputRoot, output.record, output.block, output.forced);
    }

    function _status(Claim.Details memory d) private view returns (ClaimStatus) {
        if (d.settledAt != 0) return ClaimStatus.Settled;
        if (_closed[d.range] != 0) return ClaimStatus.Beaten;
        // Who is alive when the range settles is the one that settles.
        return tournament.commitment(d.range, d.commitment).alive ? ClaimStatus.InProgress : ClaimStatus.Beaten;
    }

    /// @dev When the claim's range was closed; zero while it is open.
    function _resolvedAt(Claim.Details memory d) private view returns (uint64 time) {
        if (d.settledAt != 0) return d.settledAt;
        time = _closed[d.range];
        if (time == 0) time = _winner(d.range).settledAt;
    }

    /// @dev What survives in a range as it stands; zero if nothing does yet.
    function _winner(uint256 id) private view returns (Entry memory) {
        (, bytes32 survivor) = tournament.isOver(id);
        return _entries[id][survivor];
    }

    function _result(Claim.Details memory d) private view returns (GameSearchResult memory) {
        uint256 metadata = uint256(GAME_TYPE) << 224 | uint256(d.createdAt) << 160 | uint160(_game(d.number - 1));
        return GameSearchResult(d.number - 1, bytes32(metadata), d.createdAt, d.outputRoot, abi.encode(d.l2Block));
    }

    function _known(uint256 index) private view returns (address) {
        if (index >= _counters.claims) revert UnknownClaim(index);
        return _game(index);
    }

    /// @dev The address of a claim: `CREATE`'s, with a nonce that counts from 1 and began with the contract that claims are
    ///      clones of.
    function _game(uint256 index) private view returns (address) {
        bytes[] memory creation = new bytes[](2);
        (creation[0], creation[1]) = (RLP.encode(address(this)), RLP.encode(index + 2));
        return address(uint160(uint256(keccak256(RLP.encode(creation)))));
    }

    /// @dev `number` is zero if no claim says that.
    function _details(address game) private view returns (Claim.Details memory d) {
        (d.outputRoot, d.commitment, d.range) = _said(game);
        Entry memory entry = _entries[d.range][d.commitment];
        (d.number, d.l2Block, d.record, d.createdAt) = (entry.number, entry.l2Block, entry.record, entry.createdAt);
        d.settledAt = entry.settledAt;
    }

    /// @dev What a clone's code says.
    function _said(address game) private view returns (bytes32 outputRoot, bytes32 commitment, uint32 id) {
        bytes memory code = Clones.fetchCloneArgs(game);
        assembly ("memory-safe") {
            outputRoot := mload(add(code, 32))
            commitment := mload(add(code, 64))
            id := shr(224, mload(add(code, 96)))
        }
    }

    /// @notice What claim `game` says.
    function detailsOf(address game) external view returns (Claim.Details memory) {
        if (!isGameRespected(game)) revert UnknownGame(game);
        return _details(game);
    }

    /// @dev `id` must be that of a range.
    function _isOpen(uint256 id) private view returns (bool) {
        return !tournament.tournament(id).closed;
    }
}
