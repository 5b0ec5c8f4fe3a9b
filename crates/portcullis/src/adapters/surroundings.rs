//! What alert rules ask of this process: countries, its record, its certificates.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use portcullis_control::alerts::{CertificateEnd, RecordTrouble, Surroundings};
use portcullis_identity::spiffe;
use portcullis_log::{Health, HealthState, Log, Seen, spot_check};
use portcullis_proxy::ports::Countries;
use rustls_pki_types::{CertificateDer, pem::PemObject};

use crate::config::{ClientCa, Config, Tls, export::To};

/// See the module.
#[derive(Debug)]
pub(crate) struct Around {
    countries: Arc<dyn Countries>,
    health: Arc<Health>,
    record: PathBuf,
    key: String,
    /// What the last look at the record saw.
    seen: Arc<Mutex<Seen>>,
    certificates: Vec<(String, PathBuf)>,
}

impl Around {
    pub(crate) fn new(
        config: &Config,
        base: &Path,
        log: &Log,
        countries: Arc<dyn Countries>,
    ) -> Self {
        Self {
            countries,
            health: log.handle().health(),
            record: log.directory().to_owned(),
            key: log.keys().to_string(),
            seen: Arc::default(),
            certificates: certificates(config, base),
        }
    }
}

#[async_trait]
impl Surroundings for Around {
    fn country(&self, address: IpAddr) -> Option<String> {
        let country = self.countries.country(address).ok().flatten()?;
        Some(country.as_str().to_owned())
    }

    async fn verify(&self, numbers: Vec<u64>) -> Result<(), RecordTrouble> {
        let stopped = |why| Err(RecordTrouble::Stopped(why));
        match self.health.state() {
            HealthState::Broken(why) => {
                return stopped(format!("the record cannot be written: {why}"));
            }
            HealthState::Stalled(why) => return stopped(format!("the record waits: {why}")),
            // It ends by itself, or the gate refuses and says so.
            HealthState::Working | HealthState::Behind => {}
        }
        let (record, key, seen) = (self.record.clone(), self.key.clone(), Arc::clone(&self.seen));
        let looked = tokio::task::spawn_blocking(move || {
            let before = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let found = spot_check(&record, &key, &before, &numbers)?;
            *seen.lock().unwrap_or_else(PoisonError::into_inner) = found;
            Ok::<(), portcullis_log::Finding>(())
        });
        match looked.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(finding)) => Err(RecordTrouble::Changed(finding.to_string())),
            Err(_) => stopped("looking at the record broke off".to_owned()),
        }
    }

    async fn certificates(&self) -> Vec<CertificateEnd> {
        let all = self.certificates.clone();
        let read = tokio::task::spawn_blocking(move || {
            all.iter().filter_map(|(what, path)| end(what, path)).collect()
        });
        read.await.unwrap_or_default()
    }
}

/// The first to end of those in a file. What cannot be read is told elsewhere, by who needs it.
fn end(what: &str, path: &Path) -> Option<CertificateEnd> {
    let all = CertificateDer::pem_file_iter(path).ok()?;
    let ends = all.filter_map(Result::ok).filter_map(|one| spiffe::expires_at(&one).ok());
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Some(CertificateEnd { what: format!("{what}: {name}"), at: ends.min()? })
}

/// All files with certificates that the configuration names. Those of the Workload API are renewed by it.
fn certificates(config: &Config, base: &Path) -> Vec<(String, PathBuf)> {
    let mut files: Vec<(String, PathBuf)> = Vec::new();
    let mut add = |what: String, path: &Path| files.push((what, base.join(path)));
    let own = |tls: &Tls| tls.certificate.clone();
    for listener in &config.listeners {
        let Some(tls) = &listener.tls else { continue };
        if let Some(files) = &tls.files {
            add(format!("certificate of listener {}", listener.name), &own(files));
        }
        let authorities = match &tls.client_ca {
            Some(ClientCa::Only(path)) => vec![path],
            Some(ClientCa::Each(each)) => each.values().collect(),
            None => Vec::new(),
        };
        for path in authorities {
            add(format!("authorities of clients at listener {}", listener.name), path);
        }
    }
    if let Some(tls) = &config.control.tls {
        add("certificate of control".into(), &own(tls));
    }
    for service in &config.services {
        let Some(tls) = &service.upstream.tls else { continue };
        if let Some(files) = &tls.files {
            add(format!("certificate for {}", service.name), &own(files));
        }
        if let Some(ca) = &tls.ca {
            add(format!("authorities of {}", service.name), ca);
        }
    }
    for sink in &config.export {
        let ca = match &sink.to {
            To::Http(to) => to.ca.as_ref(),
            To::Syslog(to) => to.ca.as_ref(),
            To::File(_) => None,
        };
        if let Some(ca) = ca {
            add(format!("authorities of sink {}", sink.name), ca);
        }
    }
    files
}
