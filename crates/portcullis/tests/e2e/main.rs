//! End-to-end tests: the real binary, real sockets, outsiders as clients.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::format_push_string,
    clippy::needless_pass_by_value,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "tests fail by panicking, and read better than they run"
)]

mod again;
mod alerts;
mod answers;
mod asking;
mod balancers;
mod body_limits;
mod bound_tokens;
mod browser;
mod browsers;
mod bucket_anchors;
mod bundles;
mod chromium;
mod clocks;
mod connect;
mod connected;
mod connectors;
mod console;
mod console_facts;
mod console_pages;
mod cors;
mod crash;
mod decisions;
mod desk;
mod desync;
mod directory;
mod doors;
mod durability;
mod emergencies;
mod erasure;
mod evidence;
mod exports;
mod faults;
mod feed;
mod floods;
mod following;
mod frames;
mod geo;
mod grant_tokens;
mod headers;
mod held;
mod house;
mod incidents;
mod inside;
mod inventory;
mod issuers;
mod jobs;
mod keys;
mod late;
mod lifecycle;
mod limits;
mod local;
mod masking;
mod mesh;
mod metrics;
mod minted;
mod opaque;
mod outcomes;
mod outgoing;
mod outsiders;
mod passkeys;
mod paths;
mod payments;
mod people;
mod pki;
mod proofs;
mod provider;
mod provider_server;
mod readme;
mod reads;
mod record;
mod redelivery;
mod reports;
mod restarts;
mod retention;
mod reveal;
mod reviews;
mod rules;
mod runs;
mod sealed;
mod searching;
mod searching_sized;
mod secrecy;
mod secrets;
mod served_record;
mod sessions;
mod shop;
mod sight;
mod sink_peer;
mod slack;
mod smuggling;
mod strangers;
mod streams;
mod svid;
mod tcp;
mod telemetry;
mod tokens;
mod typed;
mod uploads;
mod upstream;
mod upstream_tls;
mod upstreams;
mod vendor;
mod walls;
mod wire;
mod yard;
