//! The signer against the vectors that the contract reads, and its silence about keys.
#![cfg(test)]

mod source;
mod transaction;
mod vectors;
