//! Group L: the process is replaced, and nobody is refused.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixDatagram,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    house::{House, binary},
    mesh::eventually,
    pki::python,
    shop::{HOST, Shop},
    streams::ticking_upstream,
    upstream::Upstream,
};

/// Who holds the sockets of a house whose own process has ended.
struct Holder {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Holder {
    fn of(house: &mut House) -> Self {
        house.signal("TERM");
        house.wait_end();
        let names = format!("gate={},control={}", house.gate.port(), house.control.port());
        let mut child = python("socket_holder.py")
            .arg(names)
            .arg(house.dir().join("serve.log"))
            .arg(binary())
            .args(["serve", "--cores", "2", "--config"])
            .arg(house.dir().join("portcullis.yaml"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut holder = Self { child, stdin, stdout };
        assert_eq!(holder.line(), "started");
        holder
    }

    /// Replaces the process; returns when the new one was started, ready or not.
    fn restart(&mut self) {
        self.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        assert_eq!(self.line(), "restarted");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.wait();
    }
}

/// One request on a connection of its own, without a second try: the status, or what went wrong.
fn once(gate: SocketAddr, token: &str) -> Result<u16, String> {
    let asked = (|| {
        let mut stream = TcpStream::connect(gate)?;
        stream.set_read_timeout(Some(Duration::from_secs(90)))?;
        let request = format!(
            "GET /page HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&answer).into_owned())
    })();
    let answer = asked.map_err(|error| error.to_string())?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.ok_or_else(|| format!("no answer: {answer:?}"))
}

#[test]
fn l12_no_connection_is_refused_while_the_process_is_replaced_under_load() {
    let upstream = Upstream::start();
    let mut shop = Shop::before(&upstream.url());
    let mut holder = Holder::of(&mut shop.house);
    shop.house.wait_ready();
    let enough = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (enough, done) = (Arc::clone(&enough), Arc::clone(&done));
            let (gate, token) = (shop.house.gate, shop.token.clone());
            std::thread::spawn(move || {
                let (mut failed, mut longest) = (Vec::new(), Duration::ZERO);
                while !enough.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    match once(gate, &token) {
                        Ok(200) => drop(done.fetch_add(1, Ordering::Relaxed)),
                        other => failed.push(format!("{other:?}")),
                    }
                    longest = longest.max(begun.elapsed());
                }
                (failed, longest)
            })
        })
        .collect();
    let restarts = std::env::var("PORTCULLIS_SOAK").ok().and_then(|n| n.parse().ok()).unwrap_or(3);
    for _ in 0..restarts {
        let before = done.load(Ordering::Relaxed);
        eventually("clients are served", || done.load(Ordering::Relaxed) > before + 50);
        holder.restart();
        shop.house.wait_ready();
    }
    let before = done.load(Ordering::Relaxed);
    eventually("clients are served", || done.load(Ordering::Relaxed) > before + 50);
    enough.store(true, Ordering::Relaxed);
    let ended: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    let failed: Vec<_> = ended.iter().flat_map(|(failed, _)| failed).collect();
    let longest = ended.iter().map(|(_, longest)| *longest).max().unwrap();
    eprintln!(
        "{restarts} restarts, {} requests, {} failed, the longest took {longest:?}",
        done.load(Ordering::Relaxed),
        failed.len()
    );
    assert!(failed.is_empty(), "{failed:#?}\n{}", shop.house.log());
}

#[test]
fn l12_what_is_in_progress_finishes_and_streams_are_cut_at_the_end_of_their_time() {
    let stream = ticking_upstream();
    let mut shop =
        Shop::furnished(&format!("http://{stream}"), |plan| plan.setting("shutdown: {drain: 2s}"));
    let mut open = TcpStream::connect(shop.house.gate).unwrap();
    open.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let request = format!("{}\r\n", shop.head("GET", "/ticks"));
    open.write_all(request.as_bytes()).unwrap();
    let mut first = [0; 256];
    assert!(open.read(&mut first).unwrap() > 0);
    // One that never says anything does not hold anybody up.
    let _silent = TcpStream::connect(shop.house.gate).unwrap();
    let begun = Instant::now();
    shop.house.signal("TERM");
    shop.house.wait_end();
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(1900), "the stream had its time: {took:?}");
    let mut rest = Vec::new();
    let _ = open.read_to_end(&mut rest);
    assert!(!rest.is_empty(), "it went on until then");
}

#[test]
fn l12_sockets_that_fit_nobody_keep_the_process_from_starting() {
    let mut shop = Shop::before("http://127.0.0.1:9");
    shop.house.signal("TERM");
    shop.house.wait_end();
    let start = |names: &str, socket: &str| {
        let script = format!(
            "import os,socket,sys\n{socket}\nos.dup2(s.fileno(),3)\nos.set_inheritable(3,True)\n\
             os.environ.update(LISTEN_PID=str(os.getpid()),LISTEN_FDS='1',LISTEN_FDNAMES='{names}')\n\
             os.execv(sys.argv[1],sys.argv[1:])"
        );
        let python = python("socket_holder.py").get_program().to_owned();
        let output = Command::new(python)
            .args(["-c", &script])
            .arg(binary())
            .args(["serve", "--config"])
            .arg(shop.house.dir().join("portcullis.yaml"))
            .output()
            .unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let anywhere = "s=socket.create_server(('127.0.0.1',0))";
    let text = start("nobody", anywhere);
    assert!(text.contains("was handed over as `nobody`, and no listener is called so"), "{text}");
    let text = start("gate", anywhere);
    assert!(text.contains("the socket handed over for `gate` is at 127.0.0.1:"), "{text}");
    // Whoever is configured for loopback is not opened to everybody by whoever holds the sockets.
    let everywhere = format!("s=socket.create_server(('0.0.0.0',{}))", shop.house.control.port());
    let text = start("control", &everywhere);
    assert!(text.contains("the socket handed over for `control` is at 0.0.0.0:"), "{text}");
    let text = start("unit.socket", &everywhere);
    assert!(text.contains("was handed over as `unit.socket`"), "{text}");
    let bound = format!(
        "s=socket.socket()\ns.setsockopt(socket.SOL_SOCKET,socket.SO_REUSEADDR,1)\ns.bind(('127.0.0.1',{}))",
        shop.house.gate.port()
    );
    let text = start("gate", &bound);
    assert!(text.contains("does not listen"), "{text}");
}

#[test]
fn l12_what_only_a_restart_changes_is_said_at_a_reload() {
    let upstream = Upstream::start();
    let shop = Shop::before(&upstream.url());
    let house = &shop.house;
    let file = house.dir().join("portcullis.yaml");
    let settings = fs::read_to_string(&file).unwrap();
    let more = "limits: {requests: 7}\nholding: {requests: 9}\nzone: elsewhere\n";
    fs::write(file.with_extension("new"), format!("{more}{settings}")).unwrap();
    fs::rename(file.with_extension("new"), &file).unwrap();
    for section in ["limits", "holding", "zone"] {
        let said = format!("`{section}` has changed and is not reloaded");
        eventually(&said, || house.log().contains(&said));
    }
    assert!(!house.log().contains("`listeners` has changed"), "{}", house.log());
}

#[test]
fn l12_the_supervisor_is_told_and_a_second_process_waits_for_the_first() {
    let upstream = Upstream::start();
    let mut shop = Shop::furnished(&upstream.url(), |plan| plan.setting("shutdown: {drain: 2s}"));
    let path = shop.house.dir().join("notify");
    let heard = UnixDatagram::bind(&path).unwrap();
    heard.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    let second = Command::new(binary())
        .args(["serve", "--config"])
        .arg(shop.house.dir().join("portcullis.yaml"))
        .env("NOTIFY_SOCKET", &path)
        .stdout(Stdio::null())
        .stderr(Stdio::from(std::fs::File::create(shop.house.dir().join("second.log")).unwrap()))
        .spawn()
        .unwrap();
    let mut second = Second(second);
    let log = || std::fs::read_to_string(shop.house.dir().join("second.log")).unwrap();
    let waits = || log().contains("waiting for its end") || heard_nothing(&heard);
    eventually("it waits", waits);
    shop.house.signal("TERM");
    shop.house.wait_end();
    assert_eq!(next(&heard), "READY=1");
    assert_eq!(shop.read_as(&shop.token).status, 200, "the second serves");
    let told = Command::new("kill").args(["-TERM", &second.0.id().to_string()]).status();
    assert!(told.unwrap().success());
    assert_eq!(next(&heard), "STOPPING=1");
    assert!(second.0.wait().unwrap().success());
}

/// A process beside the house. Killed when dropped.
struct Second(Child);

impl Drop for Second {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn next(heard: &UnixDatagram) -> String {
    let mut text = [0; 64];
    let length = heard.recv(&mut text).unwrap();
    String::from_utf8_lossy(&text[..length]).into_owned()
}

/// Never: a message while the first process serves would be one too many.
fn heard_nothing(heard: &UnixDatagram) -> bool {
    heard.set_nonblocking(true).unwrap();
    let said = heard.recv(&mut [0; 64]).is_ok();
    heard.set_nonblocking(false).unwrap();
    assert!(!said, "it is ready beside the first");
    false
}
