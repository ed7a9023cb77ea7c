//! Bindings of what settles, from the committed artifacts.

// What `sol!` expands to is its own.
#![allow(missing_docs, clippy::all)]

use alloy_sol_types::sol;

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
    Portal,
    "../../contracts/artifacts/Portal.json"
);
sol!(ExitMarket, "../../contracts/artifacts/ExitMarket.json");
