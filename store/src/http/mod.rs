//! HTTP under every store that speaks it: connections, requests and their answers, retries, deadlines, bounds.
//!
//! Owns: [`pipeline::Pipeline`], the one way by which requests go out, over a [`service::Service`] that knows one API.

pub(crate) mod body;
pub(crate) mod ca_bundle;
mod connections;
pub(crate) mod counters;
pub(crate) mod deadline;
pub(crate) mod environment;
pub(crate) mod exchange;
pub(crate) mod failure;
pub(crate) mod header_case;
pub(crate) mod pipeline;
pub(crate) mod probe;
pub(crate) mod proxy;
pub(crate) mod reading;
pub(crate) mod remembered;
pub(crate) mod renewal;
pub(crate) mod request;
pub(crate) mod retry;
pub(crate) mod served;
pub(crate) mod service;
pub(crate) mod transport;
