//! Facts about the HTTP door: pure ones, and those on a real PostgreSQL and a real node.
//!
//! Every request goes through the whole router, layers included. Sponsoring through a real bundler is the end-to-end
//! package's.
#![cfg(test)]

mod accounts;
mod bad_requests;
mod bad_rpc_calls;
mod boundary;
mod buckets;
mod credits_batch;
mod cursors;
mod dtm;
mod envelope;
mod errors;
mod funds;
mod health;
mod history;
mod house;
mod rpc_calls;
mod sponsorships;
mod tcc;
