//! A load generator for inference servers, light enough that one core of it outruns one core of
//! the server under test.
//!
//! A run is a list of workers, each of which owns one way to ask ([`exchange::Exchange`]): an
//! HTTP/1.1 connection ([`rest`]) or a stream on a shared HTTP/2 connection ([`grpc`]). What makes
//! them ask is the loop ([`drive`]): *closed*, where a worker asks again as soon as it was answered,
//! or *open*, where requests arrive on a [`schedule`] of their own whether or not the server keeps
//! up. What they saw is written to a [`tally`], and a [`tally::Report`] comes out.
//!
//! [`sink`] is the other end: a server that reads bodies and answers a constant, as the ceiling.

#![cfg_attr(test, allow(clippy::panic))] // a test may

pub mod args;
pub mod drive;
pub mod exchange;
pub mod grpc;
pub mod measure;
pub mod response;
pub mod rest;
pub mod schedule;
pub mod sink;
pub mod tally;
pub mod target;
