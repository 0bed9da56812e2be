//! Facts about the binary.

#![cfg(test)]

mod config;
