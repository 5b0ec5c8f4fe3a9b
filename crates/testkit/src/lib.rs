//! Clocks, an OpenID issuer, echo upstreams and temporary stores for tests.
