//! Facts about the rules of money.
#![cfg(test)]

mod account;
mod bounds;
mod buckets;
mod chart;

mod fixtures;
mod follow;
mod funds;
mod journal;
mod machines;
mod merkle;
mod model;
mod points;
mod quote;
mod sponsorship_facts;
mod sponsorship_requests;
mod tcc_table;
mod window;
