//! A running `portcullis connect`: where it listens, and what it says.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use crate::house::{House, binary};

/// A running `portcullis connect`. Killed when dropped.
pub(crate) struct Connect {
    child: Child,
    /// Where the first service is.
    pub(crate) address: String,
    /// Where each is.
    all: BTreeMap<String, String>,
    notes: Receiver<String>,
}

impl Connect {
    /// Starts it in the CLI's `home` with `arguments`, of which those without a dash before the first option are
    /// services, and waits until it says where it listens.
    pub(crate) fn start(
        house: &House,
        home: &str,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let services = arguments.iter().take_while(|argument| !argument.starts_with('-'));
        let services: Vec<_> = services.map(|s| s.split_once('=').map_or(*s, |(s, _)| s)).collect();
        let mut child = Command::new(binary())
            .arg("connect")
            .args(arguments)
            .env("PORTCULLIS_HOME", house.dir().join("homes").join(home))
            .env("PORTCULLIS_GATE", format!("http://{}", house.gate))
            .envs(environment.iter().copied())
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (told, notes) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = told.send(line);
            }
        });
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        // From here on it ends with the test, whatever happens.
        let mut connect = Self { child, address: String::new(), all: BTreeMap::new(), notes };
        for service in services {
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            let address = line.trim().strip_prefix(&format!("{service} on "));
            let address = address.unwrap_or_else(|| {
                let _ = connect.child.kill();
                let notes: Vec<_> = connect.notes.iter().collect();
                panic!("{line:?}; {notes:?}")
            });
            let address = address.strip_prefix("http://").unwrap_or(address).to_owned();
            if connect.address.is_empty() {
                connect.address.clone_from(&address);
            }
            connect.all.insert(service.to_owned(), address);
        }
        connect
    }

    /// Where `service` is.
    pub(crate) fn at(&self, service: &str) -> SocketAddr {
        self.all[service].parse().unwrap()
    }

    pub(crate) fn dial(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        stream
    }

    /// Waits until it has said something with `words` in it; all that was said until then.
    pub(crate) fn until_said(&self, words: &str) -> String {
        let mut said = String::new();
        while !said.contains(words) {
            let line = self.notes.recv_timeout(Duration::from_mins(1));
            let line = line.unwrap_or_else(|error| panic!("{error}: no `{words}` in {said:?}"));
            said.extend([line.as_str(), "\n"]);
        }
        said
    }

    /// Stops it as a service manager would; its exit code.
    pub(crate) fn stop(mut self) -> Option<i32> {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Connect {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
