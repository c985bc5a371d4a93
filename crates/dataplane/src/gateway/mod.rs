//! The gateway: takes requests for many services on one address, and brings each to an endpoint that can
//! answer it.
//!
//! A request's walk (`forward`): connection (`serve`; HTTP/2: `conversation`, `deliver`) → host and path (`target`) → rule
//! (`route`) → permission (`auth`) → endpoint, waiting for one if need be (`relay`, `cluster`) → connection (`attempt`,
//! `pool`, `http1` with `plain`, `http2`) → answer (`reply`). The table of routes (`table`) is read and checked as a whole
//! and swapped in at once (`live`), so a request sees one table, and a broken one changes nothing. With it come the
//! certificates for the names that clients ask for (`names`). `admin` is the control plane's side.
//!
//! Everything that is passed on was parsed and is written anew: what an endpoint reads is what was checked here.

mod access;
mod admin;
mod alarm;
mod arriving;
mod attempt;
mod auth;
pub(crate) mod bell;
mod budget;
mod cluster;
mod config;
mod conversation;
mod counts;
mod deliver;
mod endpoint;
mod exchange;
mod filter;
mod fit;
mod forward;
mod greeting;
mod handover;
mod headers;
mod hold;
mod http1;
mod http2;
mod joined;
mod limit;
mod live;
mod message;
mod metrics;
mod mirror;
mod names;
mod outgoing;
mod outlier;
mod plain;
mod pool;
mod pour;
mod pulse;
mod refusal;
mod relay;
mod repeatable;
mod replay;
mod reply;
mod rewrite;
mod route;
mod rule;
mod run;
mod serve;
mod signals;
mod socket;
mod sticky;
mod strangers;
mod table;
mod target;
mod tunnel;
pub(crate) mod watch;
mod way;

pub use config::{Config, Limits};
pub use live::Checked;
pub use metrics::{Family, FAMILIES};
#[doc(hidden)]
pub use plain::read_plainly;
pub use run::{run, Ended, Handle};
pub use table::Verb;

use crate::listen::request_id;
