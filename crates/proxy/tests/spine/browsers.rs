//! A house in which nobody signs in with a browser.

use std::net::IpAddr;

use async_trait::async_trait;
use portcullis_model::SignInId;
use portcullis_proxy::ports::{BrowserSignIns, CodeExchange, CookieSignIn, NotExchanged};

#[derive(Debug)]
pub(crate) struct Nobody;

#[async_trait]
impl BrowserSignIns for Nobody {
    async fn exchange(&self, _: CodeExchange) -> Result<CookieSignIn, NotExchanged> {
        Err(NotExchanged::Bad)
    }

    async fn sign_out(&self, _: SignInId, _: IpAddr) -> Result<(), NotExchanged> {
        Err(NotExchanged::Unavailable)
    }

    fn seen(&self, _: SignInId) {}
}
