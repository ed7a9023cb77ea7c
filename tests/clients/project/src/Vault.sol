// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.24;

/// @notice Ether by owner; what the tools deploy, call, and watch fail.
contract Vault {
    error TooMuch(uint256 asked, uint256 held);

    event Kept(address indexed owner, uint256 amount, string note);

    string public name;
    mapping(address => uint256) public held;

    constructor(string memory name_) payable {
        name = name_;
        if (msg.value > 0) keep("at first");
    }

    function keep(string memory note) public payable {
        held[msg.sender] += msg.value;
        emit Kept(msg.sender, msg.value, note);
    }

    function take(uint256 amount) external {
        uint256 has = held[msg.sender];
        if (amount > has) revert TooMuch(amount, has);
        require(amount > 0, "nothing to take");
        held[msg.sender] = has - amount;
        (bool sent,) = msg.sender.call{value: amount}("");
        require(sent, "not taken");
    }
}

/// @notice Makes vaults.
contract Builder {
    function build(bytes32 salt) external returns (Vault) {
        return new Vault{salt: salt}("built");
    }
}
