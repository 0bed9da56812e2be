//! Facts about the HTTP door: pure ones, and those on a real PostgreSQL and a real node.
#![cfg(test)]

mod cursors;
