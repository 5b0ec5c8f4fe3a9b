//! E-mail by SMTP (RFC 5321), encrypted from the first byte (RFC 8314) or after STARTTLS, which is demanded.
//!
//! One connection for each mail. The same notice has the same Message-ID, and all about one access request
//! refer to the same, so that repeats and escalations stand in one thread.

use std::{error::Error, path::Path, time::Duration};

use anyhow::{Context, Result};
use lettre::{
    AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    message::{
        Mailbox, MultiPart, SinglePart,
        header::{HeaderName, HeaderValue},
    },
    transport::smtp::{
        authentication::Credentials,
        client::{Certificate, CertificateStore, Tls, TlsParameters},
        extension::ClientId,
    },
};
use portcullis_control::{
    connector::email::Mail,
    ports::{NotDelivered, Notice},
};

use crate::config::connectors::{Email, MailTls};

const TIMEOUT: Duration = Duration::from_secs(10);
/// However many answers there are to wait for.
const LONGEST: Duration = Duration::from_secs(30);

/// Sends mails.
pub(super) struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    /// What follows the `@` of message ids.
    domain: String,
}

impl std::fmt::Debug for Mailer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mailer").field("from", &self.from).finish_non_exhaustive()
    }
}

impl Mailer {
    pub(super) fn new(config: &Email, base: &Path) -> Result<Self> {
        let from: Mailbox = config.from.parse().context("`from` under `connectors.email`")?;
        let domain = from.email.domain().to_owned();
        let mut builder =
            AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(config.smtp.host.clone())
                .port(config.smtp.port)
                .timeout(Some(TIMEOUT))
                .hello_name(ClientId::Domain(domain.clone()))
                .tls(tls(config, base)?);
        if let (Some(username), Some(password)) = (&config.username, &config.password) {
            let place = || "`password` under `connectors.email`";
            let password = password.resolve(base).with_context(place)?.expose().to_owned();
            builder = builder.credentials(Credentials::new(username.clone(), password));
        }
        Ok(Self { transport: builder.build(), from, domain })
    }

    /// Sends `notice` to `address`; it arrived when the server says that it takes it.
    pub(super) async fn send(&self, address: &str, notice: &Notice) -> Result<(), NotDelivered> {
        let message = self.message(address, notice);
        let message = message.map_err(|error| NotDelivered::ever(format!("no mail: {error}")))?;
        match tokio::time::timeout(LONGEST, self.transport.send(message)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) if error.is_permanent() => Err(NotDelivered::ever(refused(&error))),
            Ok(Err(error)) => Err(NotDelivered::yet(refused(&error))),
            Err(_) => Err(NotDelivered::yet("the mail server does not answer")),
        }
    }

    fn message(&self, address: &str, notice: &Notice) -> Result<Message> {
        let mail = Mail::new(&notice.summary);
        let thread = format!("<{}@{}>", notice.summary.thread, self.domain);
        // Nobody's absence is answered to a machine (RFC 3834).
        let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
        let message = Message::builder()
            .from(self.from.clone())
            .to(address.parse()?)
            .subject(mail.subject)
            .message_id(Some(format!("<{}@{}>", notice.id, self.domain)))
            .in_reply_to(thread.clone())
            .references(thread)
            .raw_header(HeaderValue::new(automatic, "auto-generated".to_owned()))
            .multipart(
                MultiPart::alternative()
                    .singlepart(SinglePart::plain(mail.text))
                    .singlepart(SinglePart::html(mail.html)),
            )?;
        Ok(message)
    }
}

fn tls(config: &Email, base: &Path) -> Result<Tls> {
    if config.tls == MailTls::None {
        return Ok(Tls::None);
    }
    let mut parameters = TlsParameters::builder(config.smtp.host.clone());
    if let Some(ca) = &config.ca {
        let path = base.join(ca);
        let named = || format!("{} is not usable; it must be a readable PEM file", path.display());
        let pem = std::fs::read(&path).with_context(named)?;
        parameters = parameters.certificate_store(CertificateStore::None);
        parameters =
            parameters.add_root_certificate(Certificate::from_pem(&pem).with_context(named)?);
    }
    let parameters = parameters.build().context("TLS for `connectors.email`")?;
    Ok(match config.tls {
        MailTls::Implicit => Tls::Wrapper(parameters),
        MailTls::Starttls | MailTls::None => Tls::Required(parameters),
    })
}

/// What the server said, or what came in between.
fn refused(error: &lettre::transport::smtp::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let said = inner.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        source = inner.source();
    }
    format!("the mail server: {text}")
}
