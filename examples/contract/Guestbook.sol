// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

/// Whoever comes by may sign.
contract Guestbook {
    event Signed(address indexed guest, uint256 indexed number, string words);

    error TooLong(uint256 length);

    uint256 public count;
    mapping(uint256 number => string) public words;

    function sign(string calldata text) external returns (uint256 number) {
        if (bytes(text).length > 280) revert TooLong(bytes(text).length);
        number = count++;
        words[number] = text;
        emit Signed(msg.sender, number, text);
    }
}
