// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @notice Byte strings named by their hashes, for the Machine: anyone loads a word of one, nobody can load a false one, and
///         nothing is ever removed (spec/machine.md, "PreimageOracle").
contract PreimageOracle {
    /// @notice Kind of what is named by its keccak hash.
    uint256 public constant KECCAK = 0;
    /// @notice Kind of a blob, named by its versioned hash.
    uint256 public constant BLOB = 1;
    /// @notice Most bytes of a string of kind `KECCAK`.
    uint256 public constant MAX_LENGTH = 65_536;
    /// @notice Bytes of a blob's elements.
    uint256 public constant BLOB_LENGTH = 131_072;

    uint256 private constant WORD = 32;
    uint256 private constant BLOB_ELEMENTS = 4_096;
    /// Order of the scalar field of BLS12-381.
    uint256 private constant MODULUS = 0x73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000001;
    /// EIP-4844's 4,096th root of unity: `7^((MODULUS - 1) / 4096)`.
    uint256 private constant ROOT_OF_UNITY = 0x564c0a11a0f704f4fc3e8acfe0f8245f0ad1347b378fbf96e206da11a5d36306;
    address private constant POINT_EVALUATION = address(0x0a);

    struct Part {
        bytes32 word;
        bool loaded;
    }

    /// Length plus one of every string of which something was loaded.
    mapping(bytes32 key => uint256) private _lengthPlusOne;
    mapping(uint256 kind => mapping(bytes32 key => mapping(uint256 offset => Part))) private _parts;

    error TooLong(uint256 length);
    /// The offset is no multiple of 32, or lies beyond the last word.
    error BadOffset(uint256 offset);
    error BadIndex(uint256 index);
    /// The element is not the blob's, or nothing shows that it is.
    error BadOpening();
    error NotLoaded(uint256 kind, bytes32 key, uint256 offset);

    /// @notice Loads the word at `offset` of `data`, and its length.
    /// @param offset A multiple of 32, at most the length rounded up to 32.
    function loadKeccakPart(uint256 offset, bytes calldata data) external {
        if (data.length > MAX_LENGTH) revert TooLong(data.length);
        if (offset % WORD != 0 || offset >= data.length + WORD) revert BadOffset(offset);
        bytes32 key = keccak256(data);
        uint256 end = offset + WORD < data.length ? offset + WORD : data.length;
        // Shorter slices are filled up with zeros on the right.
        bytes32 word = offset < end ? bytes32(data[offset:end]) : bytes32(0);
        _lengthPlusOne[key] = data.length + 1;
        _parts[KECCAK][key][offset] = Part(word, true);
    }

    /// @notice Loads element `index` of a blob, of which `proof` shows that it opens `commitment` there.
    /// @param versionedHash EIP-4844's hash of `commitment`.
    /// @param element Big-endian, below the field's order.
    /// @param commitment 48 bytes.
    /// @param proof KZG proof at the point of the element, 48 bytes.
    function loadBlobElement(
        bytes32 versionedHash,
        uint256 index,
        bytes32 element,
        bytes calldata commitment,
        bytes calldata proof
    ) external {
        if (index >= BLOB_ELEMENTS) revert BadIndex(index);
        (bool success, bytes memory output) =
            POINT_EVALUATION.staticcall(abi.encodePacked(versionedHash, pointOf(index), element, commitment, proof));
        // An L1 without the precompile answers any call with success and nothing.
        if (!success || keccak256(output) != keccak256(abi.encode(BLOB_ELEMENTS, MODULUS))) revert BadOpening();
        _parts[BLOB][versionedHash][index * WORD] = Part(element, true);
    }

    /// @notice The word at `offset` of a string, zero beyond its length, and the length.
    function read(uint256 kind, bytes32 key, uint256 offset) external view returns (bytes32 word, uint256 length) {
        uint256 lengthPlusOne = kind == BLOB ? BLOB_LENGTH + 1 : kind == KECCAK ? _lengthPlusOne[key] : 0;
        if (lengthPlusOne == 0) revert NotLoaded(kind, key, offset);
        length = lengthPlusOne - 1;
        if (offset >= length) return (0, length);
        Part storage part = _parts[kind][key][offset];
        if (!part.loaded) revert NotLoaded(kind, key, offset);
        return (part.word, length);
    }

    /// @notice Where a blob's polynomial takes the value of element `index`: `ω` to the power of the index with its 12
    ///         bits reversed.
    function pointOf(uint256 index) public pure returns (uint256 point) {
        if (index >= BLOB_ELEMENTS) revert BadIndex(index);
        point = 1;
        uint256 power = ROOT_OF_UNITY;
        // The highest bit of the index counts one, the next two, and so on.
        for (uint256 bit = BLOB_ELEMENTS / 2; bit > 0; bit /= 2) {
            if (index & bit != 0) point = mulmod(point, power, MODULUS);
            power = mulmod(power, power, MODULUS);
        }
    }
}
