//! Signing in with a browser, as the doors to it see it.

use std::net::IpAddr;

use portcullis_model::{Secret, SignIn};
use serde::{Deserialize, Serialize};

/// What a browser came for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    /// The gate that sent it, if one did.
    pub gate: Option<GateWish>,
    /// The page to lead back to: a path with its query.
    pub page: String,
    /// The person shall authenticate anew.
    pub fresh: bool,
}

/// A gate that sent a browser here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateWish {
    /// Where: `https://payments.example.com`.
    pub origin: String,
    /// The SHA-256 of what the browser holds there, in base64url.
    pub challenge: String,
}

/// A sign-in to begin.
#[derive(Debug)]
pub struct Begin<'a> {
    /// With which provider; the only one if absent.
    pub provider: Option<&'a str>,
    /// What the browser holds here.
    pub browser: &'a Secret,
    /// Where it comes back to.
    pub redirect_uri: &'a str,
    /// What it came for.
    pub wish: Wish,
}

/// What a browser came back with.
#[derive(Debug)]
pub struct Answer<'a> {
    /// What the browser holds here.
    pub browser: &'a Secret,
    /// `state`.
    pub state: &'a str,
    /// `code`, or `error`.
    pub code: Result<&'a str, &'a str>,
    /// `iss`.
    pub issuer: Option<&'a str>,
    /// Where it came back to.
    pub redirect_uri: &'a str,
    /// The origin that the sign-in will be good at: control's own.
    pub origin: &'a str,
    /// The sign-in that the browser held until now.
    pub replaces: Option<&'a Secret>,
    /// The browser's address.
    pub source: IpAddr,
}

/// Somebody who is signed in at control, with what they came for.
#[derive(Debug, Clone)]
pub struct Entered {
    /// For the browser's cookie.
    pub token: Secret,
    /// The sign-in.
    pub sign_in: SignIn,
    /// What they came for.
    pub wish: Wish,
}

/// A code that a gate exchanges.
#[derive(Debug)]
pub struct Exchange<'a> {
    /// The code.
    pub code: &'a str,
    /// Where the gate serves: it must be the origin that the code was made for.
    pub origin: &'a str,
    /// What the browser holds there: the challenge must have been made from it.
    pub verifier: &'a str,
    /// The sign-in that the browser held there until now.
    pub replaces: Option<Secret>,
    /// The browser's address.
    pub source: IpAddr,
}
