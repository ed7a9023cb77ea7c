//! Bindings of the contracts, generated from the committed artifacts, and their code.

// What `sol!` expands to is its own.
#![allow(missing_docs, clippy::all)]

use alloy_sol_types::sol;

sol!(
    #[derive(Debug, PartialEq, Eq)]
    Inbox,
    "../../contracts/artifacts/Inbox.json"
);
sol!(
    #[derive(Debug, PartialEq, Eq)]
    Lease,
    "../../contracts/artifacts/Lease.json"
);
sol!(
    #[derive(Debug, PartialEq, Eq)]
    Portal,
    "../../contracts/artifacts/Portal.json"
);
sol!(
    #[derive(Debug, PartialEq, Eq)]
    L1StandardBridge,
    "../../contracts/artifacts/L1StandardBridge.json"
);
sol!(
    #[derive(Debug, PartialEq, Eq)]
    PreimageOracle,
    "../../contracts/artifacts/PreimageOracle.json"
);
sol!(
    #[derive(Debug, PartialEq, Eq)]
    Machine,
    "../../contracts/artifacts/Machine.json"
);
sol!(
    #[derive(Debug, PartialEq, Eq)]
    Tournament,
    "../../contracts/artifacts/Tournament.json"
);
sol!(
    #[derive(Debug, PartialEq, Eq)]
    Claims,
    "../../contracts/artifacts/Claims.json"
);
sol!(
    #[derive(Debug, PartialEq, Eq)]
    ExitMarket,
    "../../contracts/artifacts/ExitMarket.json"
);
sol!(
    #[derive(Debug, PartialEq, Eq)]
    L2StandardBridge,
    "../../contracts/artifacts/L2StandardBridge.json"
);
sol!(
    #[derive(Debug, PartialEq, Eq)]
    L2ToL1MessagePasser,
    "../../contracts/artifacts/L2ToL1MessagePasser.json"
);
sol!(
    #[derive(Debug, PartialEq, Eq)]
    L1Block,
    "../../contracts/artifacts/L1Block.json"
);
sol!(
    #[derive(Debug, PartialEq, Eq)]
    GasPriceOracle,
    "../../contracts/artifacts/GasPriceOracle.json"
);
sol!(
    #[derive(Debug, PartialEq, Eq)]
    WETH,
    "../../contracts/artifacts/WETH.json"
);
sol!(
    #[derive(Debug, PartialEq, Eq)]
    MintableERC20Factory,
    "../../contracts/artifacts/MintableERC20Factory.json"
);
sol!(
    #[derive(Debug, PartialEq, Eq)]
    Multicall3,
    "../../contracts/artifacts/Multicall3.json"
);
sol!(BlockHashHistory, "../../contracts/artifacts/BlockHashHistory.json");
sol!(Create2Deployer, "../../contracts/artifacts/Create2Deployer.json");
