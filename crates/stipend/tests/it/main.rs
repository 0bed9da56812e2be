//! Facts about the binary.

#![cfg(test)]

mod buckets;
mod config;
mod growth;
mod ledger;
mod points;
