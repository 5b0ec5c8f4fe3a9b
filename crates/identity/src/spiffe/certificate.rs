//! What a certificate says, beside what its chain proves.

use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, KeyUsage},
    prelude::FromDer,
};

use super::SpiffeId;

/// Bytes that are not certificates one behind the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("these are not X.509 certificates, one behind the other")]
pub struct InvalidCertificates;

/// A leaf that names a workload. Nothing about its chain is proven here.
#[derive(Debug, Clone)]
pub(crate) struct Svid {
    pub(crate) id: SpiffeId,
    /// The first moment at which it is no longer valid.
    pub(crate) ends_at: Timestamp,
}

/// Takes DER certificates apart that were written one behind the other, as the Workload API does.
pub fn certificates(mut der: &[u8]) -> Result<Vec<CertificateDer<'static>>, InvalidCertificates> {
    let mut found = Vec::new();
    while !der.is_empty() {
        let (rest, _) = X509Certificate::from_der(der).map_err(|_| InvalidCertificates)?;
        let (one, rest) = der.split_at(der.len() - rest.len());
        found.push(CertificateDer::from(one.to_vec()));
        der = rest;
    }
    Ok(found)
}

/// When `certificate` is no longer valid.
pub fn expires_at(certificate: &CertificateDer<'_>) -> Result<Timestamp, InvalidCertificates> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| InvalidCertificates)?;
    not_after(&parsed).ok_or(InvalidCertificates)
}

impl Svid {
    /// Reads a leaf by the rules of X509-SVID, 2 to 5.
    pub(crate) fn read(leaf: &CertificateDer<'_>) -> Result<Self, &'static str> {
        let (rest, leaf) =
            X509Certificate::from_der(leaf).map_err(|_| "the certificate cannot be read")?;
        if !rest.is_empty() {
            return Err("something follows the certificate");
        }
        check_leaf(&leaf)?;
        let ends_at = not_after(&leaf).ok_or("the certificate's end is out of range")?;
        Ok(Self { id: only_name(&leaf)?, ends_at })
    }
}

/// X509-SVID, 4 and 5.2: it identifies, and signs nothing.
fn check_leaf(leaf: &X509Certificate<'_>) -> Result<(), &'static str> {
    let constraints = leaf.basic_constraints();
    let constraints = constraints.map_err(|_| "the certificate's constraints are unclear")?;
    if constraints.is_some_and(|constraints| constraints.value.ca) {
        return Err("the certificate is a signing authority's");
    }
    let usage = leaf.key_usage().map_err(|_| "the certificate's key usage is unclear")?;
    let usage: &KeyUsage = usage.ok_or("the certificate has no key usage")?.value;
    if usage.key_cert_sign() || usage.crl_sign() || !usage.digital_signature() {
        return Err("the certificate's key is for something else");
    }
    Ok(())
}

/// Exactly one URI, which is a SPIFFE ID (X509-SVID, 2). Names of other kinds may stand beside it,
/// and mean nothing here, but must be well-formed: a byte that ends a text for one reader and not
/// for another has no place in a name.
fn only_name(leaf: &X509Certificate<'_>) -> Result<SpiffeId, &'static str> {
    let names = leaf.subject_alternative_name();
    let names = names.map_err(|_| "the certificate's names are unclear")?;
    let names = &names.ok_or("the certificate has no URI name")?.value.general_names;
    let mut only = None;
    for name in names {
        let text = match name {
            GeneralName::URI(text) => {
                if only.replace(*text).is_some() {
                    return Err("the certificate has more than one URI name");
                }
                text
            }
            GeneralName::DNSName(text) | GeneralName::RFC822Name(text) => text,
            GeneralName::Invalid(..) => {
                return Err("a name of the certificate is malformed");
            }
            _ => continue,
        };
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err("a name of the certificate is malformed");
        }
    }
    let only = only.ok_or("the certificate has no URI name")?;
    only.parse().map_err(|_| "the certificate's URI name is not a workload's SPIFFE ID")
}

/// X.509 says the last second in which a certificate is valid.
fn not_after(certificate: &X509Certificate<'_>) -> Option<Timestamp> {
    Timestamp::from_second(certificate.validity().not_after.timestamp().checked_add(1)?).ok()
}
