//! L1 as it fails: endpoints that are down, slow or lie, reorganisations, transactions that get stuck or are lost, blobs that nobody
//! gives, forced items meant to stop the chain. Whatever happens, nothing acknowledged is lost, leader, follower and a node that
//! begins afterwards have the same blocks, what L1 is paid stays bounded, and the nodes recover by themselves and say what is wrong
//! meanwhile.
//!
//! `ANNEX_SEED` repeats a run; with `ANNEX_SOAK` outages take a minute, and there are more of each.

mod blobs;
mod endpoint;
mod forced;
mod posting;
mod reorg;
mod stranger;
mod world;
