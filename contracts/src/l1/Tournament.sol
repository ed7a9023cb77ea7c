// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Inbox} from "./Inbox.sol";
import {Leaf} from "./Leaf.sol";
import {Machine} from "./Machine.sol";
import {State} from "./State.sol";
import {Tree} from "./Tree.sol";

/// @notice Tournaments between commitments to what follows from a state (spec/settlement.md). Two commitments meet in a
///         match, which finds the first state in which they differ; a child tournament of finer steps says who is right, at
///         last one instruction. Anybody may move for any commitment. It has no owner, and ether leaves in `withdraw` only.
contract Tournament {
    struct Settings {
        /// Opens tournaments of level 0, enters commitments there, and closes them.
        address claims;
        address inbox;
        address machine;
        /// Root of the program's memory at boot.
        bytes32 bootMemoryRoot;
        /// The program's entry.
        uint64 bootPc;
        /// Seconds: how long a tournament of level 0 is joined, and the clock of a commitment.
        uint64 challengeWindow;
        /// Seconds of each turn that no clock counts.
        uint64 moveGrace;
        /// Wei with each commitment.
        uint128 bond;
        /// Most wei a gas that is refunded.
        uint64 refundGasPrice;
    }

    struct TournamentView {
        uint256 id;
        uint8 level;
        uint64 opened;
        /// Level 0: leaves at this record or beyond step to themselves.
        uint64 end;
        bytes32 start;
        /// Children: the states of the two sides, of level 1 leaves, and, until it is closed, the clocks that they began with.
        bytes32[2] contested;
        uint64[2] sideClocks;
        uint256 parentMatch;
        /// Root of the commitment without a match, or 0.
        bytes32 waiting;
        uint32 openMatches;
        uint32 alive;
        uint128 pot;
        bool closed;
        /// After the end, or 0.
        bytes32 survivor;
        uint256 commitments;
        uint256 matches;
    }

    struct CommitmentView {
        bytes32 root;
        address claimer;
        bytes32 last;
        uint8 side;
        bool alive;
        /// Seconds left, at `since` if that is not 0.
        uint64 clock;
        /// Since when a turn runs; 0: it rests.
        uint64 since;
        /// 0: none yet, or it waits. The dead keep their last.
        uint256 currentMatch;
    }

    struct MatchView {
        uint256 id;
        uint256 tournament;
        bytes32 one;
        bytes32 two;
        /// Before `seal`: the mover's node, and the children of the other's node at the same place.
        bytes32 node;
        bytes32 left;
        bytes32 right;
        /// Of the leftmost leaf below `node`; after `seal`, of the first leaf that differs.
        uint64 index;
        /// Of `node`; 1: `seal` is due, 0: it has been.
        uint8 height;
        /// 0 moving, 1 a child is played, 2 `prove` is due, 3 over.
        uint8 phase;
        bool oneMoves;
        uint256 child;
        /// After `seal`: the state before the first that differs, and that of each.
        bytes32 agreed;
        bytes32[2] states;
    }

    struct Game {
        bytes32 start;
        uint8 level;
        bool closed;
        uint40 opened;
        /// Children: the parent's match. Level 0: the record before which the range ends.
        uint72 bound;
        /// Place of the commitment without a match, from 1 on.
        uint32 waiting;
        uint32 alive;
        uint32 commitments;
        uint32 matches;
        /// Wei in the pot besides the bonds: of children without survivor, less refunds.
        int128 gains;
    }

    struct Commitment {
        address claimer;
        uint40 clock;
        /// Place of its match, from 1 on.
        uint32 inMatch;
        uint8 side;
        bool alive;
        bytes32 last;
        bytes32 left;
        bytes32 right;
    }

    struct Match {
        /// Places of the commitments, from 1 on. `one` is the one that waited, and side 0 of the child.
        uint32 one;
        uint32 two;
        uint32 index;
        uint8 height;
        uint8 phase;
        bool oneMoves;
        /// When the turn began.
        uint40 since;
        uint40 child;
        /// After `seal`: the agreed state, that of `one`, that of `two`.
        bytes32 node;
        bytes32 left;
        bytes32 right;
    }

    /// @notice Heights of the trees: 2^26 leaves; 2^20 strides of 2^20 instructions; 2^20 instructions.
    uint256 public constant LEAF_HEIGHT = 26;
    uint256 public constant RUN_HEIGHT = 20;

    /// @notice Gas that is refunded for a call.
    uint256 public constant ADVANCE_GAS = 110_000;
    uint256 public constant SEAL_GAS = 400_000;
    uint256 public constant PROVE_GAS = 600_000;
    /// Most gas that a match refunds: the longest is one of level 0.
    uint256 private constant MATCH_GAS = (LEAF_HEIGHT - 1) * ADVANCE_GAS + SEAL_GAS;

    uint256 private constant LEVELS = 3;
    uint8 private constant MOVING = 0;
    uint8 private constant CHILD = 1;
    uint8 private constant PROVE = 2;
    uint8 private constant OVER = 3;

    /// A match's number is its tournament's, then 32 bits of its place there.
    uint256 private constant MATCH_BITS = 32;

    address private immutable CLAIMS;
    Inbox private immutable INBOX;
    bytes32 private immutable CONFIG_HASH;
    Machine private immutable MACHINE;
    bytes32 private immutable BOOT_MEMORY_ROOT;
    uint64 private immutable BOOT_PC;
    uint40 private immutable CHALLENGE_WINDOW;
    uint40 private immutable MOVE_GRACE;
    uint96 private immutable BOND;
    uint64 private immutable REFUND_GAS_PRICE;

    /// @notice Wei that an account can take out.
    mapping(address account => uint256) public credits;

    uint256 private _count;
    mapping(uint256 id => Game) private _games;
    mapping(uint256 id => mapping(uint256 place => bytes32 root)) private _roots;
    mapping(uint256 id => mapping(bytes32 root => Commitment)) private _commitments;
    mapping(uint256 matchId => Match) private _matches;

    event Opened(uint256 indexed id, uint256 parentMatch, uint8 level, bytes32 start);
    event Joined(uint256 indexed id, bytes32 indexed root, address indexed claimer, bytes32 last);
    event Matched(uint256 indexed id, uint256 indexed matchId, bytes32 one, bytes32 two);
    event Advanced(uint256 indexed matchId, uint8 height, uint64 index);
    /// `child` is 0 if the match has none.
    event Sealed(uint256 indexed matchId, uint64 index, bytes32 agreed, uint256 child);
    /// `survivor` is 0 if neither survives.
    event Resolved(uint256 indexed matchId, bytes32 survivor);
    /// `claimer` gets `amount`: at level 0 the pot, in a child its bond. 0: nobody does.
    event Closed(uint256 indexed id, bytes32 survivor, address claimer, uint256 amount);
    event Refunded(uint256 indexed matchId, address indexed who, uint256 amount);
    event Withdrawn(address indexed who, uint256 amount);

    /// The settings leave a match's refunds uncovered, or do not fit.
    error BadSettings();
    error NotClaims();
    error NoTournament(uint256 id);
    /// The tournament has the other kind of level.
    error WrongLevel();
    /// The tournament has another start.
    error OtherStart();
    error WrongBond(uint256 value);
    error AlreadyJoined(bytes32 root);
    /// The tournament, or this side of it, is not joined any more.
    error JoiningOver();
    /// The path has not the height of the tree, or does not lead to it.
    error BadPath();
    /// The last state stands for neither side.
    error NotContested(bytes32 state);
    /// The match is not where this could be done.
    error WrongPhase();
    /// Who is on turn has no time left.
    error OutOfTime();
    error InTime();
    /// The children are not the node's.
    error BadNode();
    /// The proof is of another step.
    error BadProof();
    error NotOver();
    error NothingToWithdraw();
    error PaymentFailed();

    constructor(Settings memory settings_) {
        if (
            settings_.claims == address(0) || settings_.inbox == address(0) || settings_.machine == address(0)
                || settings_.challengeWindow == 0 || settings_.challengeWindow > type(uint40).max
                || settings_.moveGrace > type(uint40).max || settings_.bond > type(uint96).max
                || settings_.bond < MATCH_GAS * settings_.refundGasPrice
        ) revert BadSettings();
        CLAIMS = settings_.claims;
        INBOX = Inbox(settings_.inbox);
        CONFIG_HASH = INBOX.configHash();
        MACHINE = Machine(settings_.machine);
        BOOT_MEMORY_ROOT = settings_.bootMemoryRoot;
        BOOT_PC = settings_.bootPc;
        CHALLENGE_WINDOW = uint40(settings_.challengeWindow);
        MOVE_GRACE = uint40(settings_.moveGrace);
        BOND = uint96(settings_.bond);
        REFUND_GAS_PRICE = settings_.refundGasPrice;
    }

    // Level 0, by Claims

    /// @notice Opens a tournament of level 0.
    /// @param start The leaf that it starts from.
    /// @param end Leaves whose record is not below it step to themselves; at most the Inbox's count.
    function open(bytes32 start, uint64 end) external returns (uint256 id) {
        if (msg.sender != CLAIMS) revert NotClaims();
        id = ++_count;
        Game storage game = _games[id];
        game.start = start;
        game.opened = uint40(block.timestamp);
        game.bound = end;
        emit Opened(id, 0, 0, start);
    }

    /// @notice Enters a commitment at level 0.
    /// @param claimer Who gets the pot if the commitment survives.
    /// @param last The last leaf, of which Claims knows what it stands for.
    /// @param path Siblings of the last leaf, from its own up.
    /// @return root The commitment.
    /// @return start The tournament's, as at its opening.
    /// @return end The same.
    function enter(uint256 id, address claimer, bytes32 last, bytes32[] calldata path)
        external
        payable
        returns (bytes32 root, bytes32 start, uint64 end)
    {
        if (msg.sender != CLAIMS) revert NotClaims();
        Game storage game = _game(id);
        if (game.level != 0) revert WrongLevel();
        if (_leavesOver(game)) revert JoiningOver();
        root = _enter(id, claimer, 0, CHALLENGE_WINDOW - _beyondGrace(game.opened), last, path);
        return (root, game.start, uint64(game.bound));
    }

    /// @notice Closes a tournament of level 0 that is over.
    /// @param caller Who gets the pot if no commitment survives.
    /// @return survivor The surviving commitment, or 0.
    /// @return leaf Its last leaf.
    /// @return end The tournament's, as at its opening.
    function finish(uint256 id, address caller) external returns (bytes32 survivor, bytes32 leaf, uint64 end) {
        if (msg.sender != CLAIMS) revert NotClaims();
        Game storage game = _game(id);
        if (game.level != 0) revert WrongLevel();
        uint96 pot;
        (survivor, pot) = _end(id, game);
        if (survivor != 0) {
            Commitment storage c = _commitments[id][survivor];
            (caller, leaf) = (c.claimer, c.last);
        }
        credits[caller] += pot;
        emit Closed(id, survivor, caller, pot);
        end = uint64(game.bound);
    }

    // Children

    /// @notice Joins a child tournament with a commitment and its bond.
    /// @param start The tournament's: another may have got the number if L1 was reorganised.
    /// @param last The last state's hash.
    /// @param path Siblings of the last state, from its own up.
    /// @param state Level 1: the 384 bytes of the last state.
    function join(uint256 id, bytes32 start, bytes32 last, bytes32[] calldata path, bytes calldata state)
        external
        payable
    {
        Game storage game = _game(id);
        if (game.level == 0) revert WrongLevel();
        if (game.start != start) revert OtherStart();
        (bool over,) = _over(id, game);
        if (over) revert JoiningOver();
        Match storage parent = _matches[game.bound];
        bytes32 stands = game.level == 1 ? State.leafAfter(parent.node, last, state) : last;
        uint8 side = stands == parent.left ? 0 : 1;
        if (side == 1 && stands != parent.right) revert NotContested(stands);
        uint256 clock = _sideClock(game, side);
        if (_sideOver(game, clock)) revert JoiningOver();
        _enter(id, msg.sender, side, clock - _beyondGrace(game.opened), last, path);
    }

    /// @notice Closes a child tournament that is over, which decides its parent's match. Who joined the survivor gets its bond
    ///         back; the rest of the pot goes to the parent's.
    /// @return survivor The surviving commitment, or 0.
    function close(uint256 id) external returns (bytes32 survivor) {
        Game storage game = _game(id);
        if (game.level == 0) revert WrongLevel();
        uint96 pot;
        (survivor, pot) = _end(id, game);
        uint256 matchId = game.bound;
        Match storage parent = _matches[matchId];
        uint256 parentId = matchId >> MATCH_BITS;
        // What is lost in a child goes up, so that nobody gets it back by being right in a quarrel among liars.
        uint96 own = survivor == 0 ? 0 : BOND;
        _games[parentId].gains += int128(uint128(pot - own));
        if (survivor == 0) {
            emit Closed(id, 0, address(0), 0);
            _resolve(matchId, parent, 0);
            return 0;
        }
        Commitment storage c = _commitments[id][survivor];
        address claimer = c.claimer;
        credits[claimer] += own;
        emit Closed(id, survivor, claimer, own);
        uint32 place = c.side == 0 ? parent.one : parent.two;
        _commitmentAt(parentId, place).clock = c.clock;
        _resolve(matchId, parent, place);
    }

    // Matches

    /// @notice Moves for the commitment that is on turn: down to the children in which the two differ.
    /// @param left Left child of the mover's node.
    /// @param newLeft Left child of the mover's node one level below.
    function advance(uint256 matchId, bytes32 left, bytes32 right, bytes32 newLeft, bytes32 newRight) external {
        Match storage m = _matches[matchId];
        _takeTurn(matchId, m);
        uint8 height = m.height;
        if (height == 1) revert WrongPhase();
        if (Tree.pair(left, right) != m.node) revert BadNode();
        // The nodes differ: if their left children do not, their right ones do.
        bytes32 other = m.left;
        uint32 index = m.index;
        --height;
        if (left == other) {
            left = right;
            other = m.right;
            index += uint32(1 << height);
        }
        if (Tree.pair(newLeft, newRight) != left) revert BadNode();
        m.index = index;
        m.height = height;
        m.oneMoves = !m.oneMoves;
        m.since = uint40(block.timestamp);
        m.node = other;
        m.left = newLeft;
        m.right = newRight;
        emit Advanced(matchId, height, index);
        _refund(matchId, ADVANCE_GAS);
    }

    /// @notice Moves where the children are states: what the two differ in is the step from the agreed state.
    /// @param left Left child of the mover's node, a state.
    /// @param agreed If the left states differ and are not the first: the state before them.
    /// @param path Then, siblings of `agreed` in either's tree, from its own up.
    /// @param opening Level 0: `abi.encode(outputRoot, record, block, forced)` of the agreed leaf, or the 32 bytes of the leaf
    ///        of which it is FAULT.
    function seal(
        uint256 matchId,
        bytes32 left,
        bytes32 right,
        bytes32 agreed,
        bytes32[] calldata path,
        bytes calldata opening
    ) external {
        Match storage m = _matches[matchId];
        _takeTurn(matchId, m);
        if (m.height != 1) revert WrongPhase();
        if (Tree.pair(left, right) != m.node) revert BadNode();
        bytes32 other = m.left;
        if (left != other) {
            agreed = _agreed(matchId, m, agreed, path);
        } else {
            agreed = left;
            left = right;
            other = m.right;
            ++m.index;
        }
        m.height = 0;
        m.node = agreed;
        (m.left, m.right) = m.oneMoves ? (left, other) : (other, left);
        _decide(matchId, m, agreed, opening);
        _refund(matchId, SEAL_GAS);
    }

    /// @notice Executes the instruction after the agreed state.
    /// @param proof What `Machine.step` takes.
    function prove(uint256 matchId, bytes calldata proof) external {
        Match storage m = _matches[matchId];
        if (m.phase != PROVE) revert WrongPhase();
        uint256 id = matchId >> MATCH_BITS;
        if (_bothOut(id, m)) revert OutOfTime();
        (bytes32 before, bytes32 next) = MACHINE.step(proof);
        if (before != m.node) revert BadProof();
        uint32 survivor = next == m.left ? m.one : next == m.right ? m.two : 0;
        if (survivor != 0) {
            Commitment storage c = _commitmentAt(id, survivor);
            uint256 used = _beyondGrace(m.since);
            uint256 clock = c.clock;
            c.clock = uint40(used < clock ? clock - used : 0);
        }
        _resolve(matchId, m, survivor);
        _refund(matchId, PROVE_GAS);
    }

    /// @notice Ends a match in which who is on turn has no time left, or neither has after the last `seal`.
    function timeout(uint256 matchId) external {
        Match storage m = _matches[matchId];
        uint256 id = matchId >> MATCH_BITS;
        if (m.phase == PROVE) {
            if (!_bothOut(id, m)) revert InTime();
            _resolve(matchId, m, 0);
        } else {
            _checkMoving(m);
            (uint32 mover, uint32 other) = m.oneMoves ? (m.one, m.two) : (m.two, m.one);
            if (!_isOut(m, _commitmentAt(id, mover).clock)) revert InTime();
            _resolve(matchId, m, other);
        }
    }

    /// @notice Pays the caller's credit.
    function withdraw() external {
        uint256 amount = credits[msg.sender];
        if (amount == 0) revert NothingToWithdraw();
        credits[msg.sender] = 0;
        emit Withdrawn(msg.sender, amount);
        (bool paid,) = msg.sender.call{value: amount}("");
        if (!paid) revert PaymentFailed();
    }

    // Views

    function parameters() external view returns (Settings memory) {
        return Settings({
            claims: CLAIMS,
            inbox: address(INBOX),
            machine: address(MACHINE),
            bootMemoryRoot: BOOT_MEMORY_ROOT,
            bootPc: BOOT_PC,
            challengeWindow: CHALLENGE_WINDOW,
            moveGrace: MOVE_GRACE,
            bond: BOND,
            refundGasPrice: REFUND_GAS_PRICE
        });
    }

    /// @notice Number of tournaments so far; they count from 1.
    function count() external view returns (uint256) {
        return _count;
    }

    function tournament(uint256 id) external view returns (TournamentView memory v) {
        Game storage game = _game(id);
        v.id = id;
        v.level = game.level;
        v.opened = game.opened;
        v.start = game.start;
        if (v.level == 0) {
            v.end = uint64(game.bound);
        } else {
            v.parentMatch = game.bound;
            Match storage parent = _matches[v.parentMatch];
            v.contested = [parent.left, parent.right];
            v.sideClocks = [uint64(_sideClock(game, 0)), uint64(_sideClock(game, 1))];
        }
        v.waiting = _roots[id][game.waiting];
        v.openMatches = game.alive / 2;
        v.alive = game.alive;
        if (!game.closed) v.pot = _pot(game);
        v.closed = game.closed;
        (, v.survivor) = _over(id, game);
        v.commitments = game.commitments;
        v.matches = game.matches;
    }

    /// @notice Up to `number` commitments of a tournament, in the order of joining, from place `from` (counted from 0) on.
    function commitments(uint256 id, uint256 from, uint256 number)
        external
        view
        returns (CommitmentView[] memory list)
    {
        number = _within(from, number, _game(id).commitments);
        list = new CommitmentView[](number);
        for (uint256 i = 0; i < number; ++i) {
            list[i] = commitment(id, _roots[id][from + i + 1]);
        }
    }

    /// @notice Up to `number` matches of a tournament, in the order of their beginning, from place `from` (counted from 0) on.
    function matches(uint256 id, uint256 from, uint256 number) external view returns (MatchView[] memory list) {
        number = _within(from, number, _game(id).matches);
        list = new MatchView[](number);
        for (uint256 i = 0; i < number; ++i) {
            list[i] = _matchView(id << MATCH_BITS | (from + i));
        }
    }

    /// @notice A commitment; all is zero if it has not joined.
    function commitment(uint256 id, bytes32 root) public view returns (CommitmentView memory v) {
        Commitment storage c = _commitments[id][root];
        v.root = root;
        v.claimer = c.claimer;
        v.last = c.last;
        v.side = c.side;
        v.alive = c.alive;
        v.clock = c.clock;
        if (c.inMatch == 0) return v;
        v.currentMatch = id << MATCH_BITS | (c.inMatch - 1);
        Match storage m = _matches[v.currentMatch];
        bool runs = m.phase == PROVE || (m.phase == MOVING && (root == _roots[id][m.oneMoves ? m.one : m.two]));
        if (runs) v.since = m.since;
    }

    /// @notice Whether a tournament is over, closed or not, and with which survivor (0: none).
    function isOver(uint256 id) external view returns (bool over, bytes32 survivor) {
        return _over(id, _game(id));
    }

    function _matchView(uint256 matchId) private view returns (MatchView memory v) {
        Match storage m = _matches[matchId];
        v.id = matchId;
        v.tournament = matchId >> MATCH_BITS;
        v.one = _roots[v.tournament][m.one];
        v.two = _roots[v.tournament][m.two];
        v.index = m.index;
        v.height = m.height;
        v.phase = m.phase;
        v.oneMoves = m.oneMoves;
        v.child = m.child;
        if (v.height == 0) {
            v.agreed = m.node;
            v.states = [m.left, m.right];
        } else {
            v.node = m.node;
            v.left = m.left;
            v.right = m.right;
        }
    }

    function _within(uint256 from, uint256 number, uint256 length) private pure returns (uint256) {
        if (from >= length) return 0;
        return number < length - from ? number : length - from;
    }

    // Tournaments

    function _game(uint256 id) private view returns (Game storage game) {
        game = _games[id];
        if (game.opened == 0) revert NoTournament(id);
    }

    function _enter(uint256 id, address claimer, uint8 side, uint256 clock, bytes32 last, bytes32[] calldata path)
        private
        returns (bytes32 root)
    {
        if (msg.value != BOND) revert WrongBond(msg.value);
        Game storage game = _games[id];
        if (path.length != _height(game.level)) revert BadPath();
        (bytes32 left, bytes32 right) = Tree.children(last, path);
        root = Tree.pair(left, right);
        Commitment storage c = _commitments[id][root];
        if (c.claimer != address(0)) revert AlreadyJoined(root);
        (c.claimer, c.clock, c.side, c.alive) = (claimer, uint40(clock), side, true);
        (c.last, c.left, c.right) = (last, left, right);
        uint32 place = ++game.commitments;
        ++game.alive;
        _roots[id][place] = root;
        emit Joined(id, root, claimer, last);
        _arrive(id, game, place);
    }

    /// @dev A commitment without a match meets the one that waits, or waits.
    function _arrive(uint256 id, Game storage game, uint32 place) private {
        uint32 waiting = game.waiting;
        if (waiting == 0) {
            game.waiting = place;
            return;
        }
        game.waiting = 0;
        uint32 number = game.matches++;
        uint256 matchId = id << MATCH_BITS | number;
        (bytes32 one, bytes32 two) = (_roots[id][waiting], _roots[id][place]);
        Commitment storage arrived = _commitments[id][two];
        _commitments[id][one].inMatch = number + 1;
        arrived.inMatch = number + 1;
        Match storage m = _matches[matchId];
        (m.one, m.two, m.oneMoves) = (waiting, place, true);
        m.height = uint8(_height(game.level));
        m.since = uint40(block.timestamp);
        (m.node, m.left, m.right) = (one, arrived.left, arrived.right);
        emit Matched(id, matchId, one, two);
    }

    /// @dev Whether nothing can change the result, and the survivor then.
    function _over(uint256 id, Game storage game) private view returns (bool over, bytes32 survivor) {
        // All that live are in matches, but one that may wait.
        if (game.alive > 1) return (false, 0);
        uint32 waiting = game.waiting;
        if (waiting != 0) survivor = _roots[id][waiting];
        if (game.closed) over = true;
        else if (game.level == 0) over = _leavesOver(game);
        else if (waiting != 0) over = _sideOver(game, _sideClock(game, 1 - _commitments[id][survivor].side));
        else over = _sideOver(game, _sideClock(game, 0)) && _sideOver(game, _sideClock(game, 1));
        if (!over) survivor = 0;
    }

    /// @dev Whether a tournament of level 0 is not joined any more. What joins first leaves others half of the window for an
    ///      answer.
    function _leavesOver(Game storage game) private view returns (bool) {
        uint256 window = game.commitments == 0 ? CHALLENGE_WINDOW / 2 : CHALLENGE_WINDOW;
        return block.timestamp >= game.opened + window;
    }

    /// @dev Whether a side that began with `clock` is not joined any more.
    function _sideOver(Game storage game, uint256 clock) private view returns (bool) {
        return block.timestamp >= uint256(game.opened) + MOVE_GRACE + clock;
    }

    /// @dev The clock with which a side of an open child began: the parent's commitment rests as long.
    function _sideClock(Game storage game, uint8 side) private view returns (uint256) {
        uint256 matchId = game.bound;
        Match storage parent = _matches[matchId];
        return _commitmentAt(matchId >> MATCH_BITS, side == 0 ? parent.one : parent.two).clock;
    }

    /// @dev Marks as closed, and the caller hands the pot on.
    function _end(uint256 id, Game storage game) private returns (bytes32 survivor, uint96 pot) {
        bool over;
        (over, survivor) = _over(id, game);
        if (!over || game.closed) revert NotOver();
        game.closed = true;
        pot = _pot(game);
    }

    /// @dev Before it is closed. The bonds are more than what is refunded: every match loses one, and the last is left.
    function _pot(Game storage game) private view returns (uint96) {
        return uint96(uint256(int256(uint256(game.commitments) * BOND) + game.gains));
    }

    function _height(uint256 level) private pure returns (uint256) {
        return level == 0 ? LEAF_HEIGHT : RUN_HEIGHT;
    }

    // Matches

    function _commitmentAt(uint256 id, uint32 place) private view returns (Commitment storage) {
        return _commitments[id][_roots[id][place]];
    }

    function _checkMoving(Match storage m) private view {
        // No match has height 0 before `seal`.
        if (m.phase != MOVING || m.height == 0) revert WrongPhase();
    }

    /// @dev Charges who is on turn.
    function _takeTurn(uint256 matchId, Match storage m) private {
        _checkMoving(m);
        Commitment storage mover = _commitmentAt(matchId >> MATCH_BITS, m.oneMoves ? m.one : m.two);
        uint256 clock = mover.clock;
        if (_isOut(m, clock)) revert OutOfTime();
        uint256 used = _beyondGrace(m.since);
        if (used > 0) mover.clock = uint40(clock - used);
    }

    function _isOut(Match storage m, uint256 clock) private view returns (bool) {
        return block.timestamp >= uint256(m.since) + MOVE_GRACE + clock;
    }

    function _bothOut(uint256 id, Match storage m) private view returns (bool) {
        return _isOut(m, _commitmentAt(id, m.one).clock) && _isOut(m, _commitmentAt(id, m.two).clock);
    }

    function _beyondGrace(uint256 since) private view returns (uint256) {
        uint256 free = since + MOVE_GRACE;
        return block.timestamp > free ? block.timestamp - free : 0;
    }

    /// @dev The state before leaf `m.index`, in which the two agree since their nodes to the left are the same.
    function _agreed(uint256 matchId, Match storage m, bytes32 agreed, bytes32[] calldata path)
        private
        view
        returns (bytes32)
    {
        uint256 id = matchId >> MATCH_BITS;
        Game storage game = _games[id];
        uint256 index = m.index;
        if (index == 0) return game.start;
        if (path.length != _height(game.level)) revert BadPath();
        bytes32 root = Tree.root(agreed, index - 1, path);
        if (root != _roots[id][m.one] && root != _roots[id][m.two]) revert BadPath();
        return agreed;
    }

    /// @dev What follows `seal`: a child, `prove`, or at level 0 the end.
    function _decide(uint256 matchId, Match storage m, bytes32 agreed, bytes calldata opening) private {
        Game storage game = _games[matchId >> MATCH_BITS];
        uint8 level = game.level;
        if (level == LEVELS - 1) {
            m.phase = PROVE;
            m.since = uint40(block.timestamp);
            emit Sealed(matchId, m.index, agreed, 0);
            return;
        }
        bytes32 start = agreed;
        if (level == 0) {
            bool stays;
            (stays, start) = _openLeaf(agreed, uint64(game.bound), opening);
            if (stays) {
                emit Sealed(matchId, m.index, agreed, 0);
                _resolve(matchId, m, m.left == agreed ? m.one : m.right == agreed ? m.two : 0);
                return;
            }
        }
        uint256 child = _openChild(matchId, m, level + 1, start);
        emit Sealed(matchId, m.index, agreed, child);
    }

    function _openChild(uint256 matchId, Match storage m, uint8 level, bytes32 start) private returns (uint256 child) {
        child = ++_count;
        m.phase = CHILD;
        m.child = uint40(child);
        Game storage game = _games[child];
        game.start = start;
        (game.level, game.opened, game.bound) = (level, uint40(block.timestamp), uint72(matchId));
        emit Opened(child, matchId, level, start);
    }

    /// @dev Ends a match; who does not survive is dead. `survivor` is a place, 0 for none.
    function _resolve(uint256 matchId, Match storage m, uint32 survivor) private {
        uint256 id = matchId >> MATCH_BITS;
        Game storage game = _games[id];
        m.phase = OVER;
        _eliminate(id, game, m.one, survivor);
        _eliminate(id, game, m.two, survivor);
        emit Resolved(matchId, _roots[id][survivor]);
        if (survivor != 0) {
            _commitmentAt(id, survivor).inMatch = 0;
            _arrive(id, game, survivor);
        }
    }

    function _eliminate(uint256 id, Game storage game, uint32 place, uint32 survivor) private {
        if (place == survivor) return;
        _commitmentAt(id, place).alive = false;
        --game.alive;
    }

    /// @dev Credits the caller with the gas of its call. The pot holds it: a match loses a bond, and refunds no more than one.
    function _refund(uint256 matchId, uint256 gasUsed) private {
        uint256 price = tx.gasprice < REFUND_GAS_PRICE ? tx.gasprice : REFUND_GAS_PRICE;
        uint256 amount = gasUsed * price;
        if (amount == 0) return;
        _games[matchId >> MATCH_BITS].gains -= int128(uint128(amount));
        credits[msg.sender] += amount;
        emit Refunded(matchId, msg.sender, amount);
    }

    // Leaves

    /// @dev Opens the agreed leaf: whether it steps to itself, else the state in which the program starts on it.
    function _openLeaf(bytes32 leaf, uint64 end, bytes calldata opening)
        private
        view
        returns (bool stays, bytes32 start)
    {
        uint256 record = Leaf.recordOf(leaf, opening);
        if (record >= end) return (true, 0);
        bytes32 input =
            keccak256(bytes.concat(abi.encode(INBOX, CONFIG_HASH), opening, INBOX.accumulator(record)));
        return (false, State.boot(BOOT_PC, BOOT_MEMORY_ROOT, input));
    }
}
