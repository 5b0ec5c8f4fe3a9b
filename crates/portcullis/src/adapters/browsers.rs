//! Browsers' sign-ins, as the gate sees them.

use std::net::IpAddr;

use async_trait::async_trait;
use portcullis_control::{ControlError, browser::Exchange};
use portcullis_model::SignInId;
use portcullis_proxy::ports::{BrowserSignIns, CodeExchange, CookieSignIn, NotExchanged};

use super::ControlPorts;

#[async_trait]
impl BrowserSignIns for ControlPorts {
    async fn exchange(&self, asked: CodeExchange) -> Result<CookieSignIn, NotExchanged> {
        let control = self.control();
        let made = self.runtime().spawn(async move {
            let CodeExchange { code, origin, verifier, replaces, source } = asked;
            let (code, origin, verifier) = (code.expose(), origin.as_str(), verifier.expose());
            control.exchange_code(Exchange { code, origin, verifier, replaces, source }).await
        });
        let made = made.await.map_err(|_| NotExchanged::Unavailable)?;
        let made = made.map_err(|error| not_exchanged(&error))?;
        Ok(CookieSignIn { token: made.token, expires_at: made.sign_in.expires_at })
    }

    async fn sign_out(&self, id: SignInId, source: IpAddr) -> Result<(), NotExchanged> {
        let control = self.control();
        let ended =
            self.runtime().spawn(async move { control.sign_out_everywhere(id, source).await });
        match ended.await {
            Ok(Ok(()) | Err(ControlError::NotFound(_))) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(NotExchanged::Unavailable),
        }
    }

    fn seen(&self, id: SignInId) {
        let control = self.control();
        self.runtime().spawn(async move { control.seen(id) });
    }
}

fn not_exchanged(error: &ControlError) -> NotExchanged {
    match error {
        ControlError::Unauthenticated(_)
        | ControlError::NotFound(_)
        | ControlError::NoSuchClass { .. }
        | ControlError::Denied(_)
        | ControlError::Invalid { .. }
        | ControlError::Conflict(_)
        | ControlError::NoWay { .. }
        | ControlError::PasskeyNeeded(_) => NotExchanged::Bad,
        ControlError::Limited { .. } | ControlError::Unavailable(_) | ControlError::Internal(_) => {
            NotExchanged::Unavailable
        }
    }
}
