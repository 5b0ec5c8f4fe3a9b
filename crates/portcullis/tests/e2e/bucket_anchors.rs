//! Checkpoints in a bucket: each is kept, and a log that was set back does not go on.

use std::{fs, path::Path, process::Command};

use crate::{
    durability::shipping::{ACCESS, Bucket, SECRET},
    mesh::eventually,
    payments::{Payments, ana},
    upstream::Upstream,
};

fn copied(dir: &Path, script: &str) {
    let copied = Command::new("sh").args(["-c", script]).current_dir(dir).status().unwrap();
    assert!(copied.success(), "{script}");
}

fn size_of(checkpoint: &str) -> u64 {
    checkpoint.lines().nth(1).unwrap().parse().unwrap()
}

#[test]
fn k05_a_log_that_was_set_back_is_found_by_checkpoints_in_a_bucket() {
    let bucket = Bucket::open();
    let mut payments = Payments::furnished(Upstream::start(), |plan| {
        plan.file("access", ACCESS).file("secret", SECRET)
    });
    payments.house.kill();
    let dir = payments.house.dir().to_owned();
    copied(&dir, "mkdir older && cp -r audit portcullis.db* older/");
    let file = dir.join("portcullis.yaml");
    let text = fs::read_to_string(&file).unwrap();
    let place = bucket.place("s3", "notary/eu");
    let anchored = format!("{{directory: audit, anchors: [{place}]}}");
    fs::write(&file, text.replace("{directory: audit}", &anchored)).unwrap();
    // The bucket is away: it is said, and stops nothing.
    fs::write(bucket.folder.path().join(".down"), "").unwrap();
    payments.house.restart();
    payments.enter(&ana());
    let metric = |payments: &Payments, what: &str| {
        payments.house.api("GET", "/metrics", None, None).text().contains(what)
    };
    eventually("that nothing is anchored is said", || {
        metric(&payments, "portcullis_log_anchor_failing{anchor=\"0\",kind=\"s3\"} 1")
    });
    fs::remove_file(bucket.folder.path().join(".down")).unwrap();
    let newest = bucket.copy("notary/eu").join("newest");
    eventually("the newest checkpoint is there", || newest.exists());
    let first = fs::read_to_string(&newest).unwrap();
    let own = newest.with_file_name(format!("{:020}", size_of(&first)));
    assert_eq!(fs::read_to_string(&own).unwrap(), first, "and as an object of its own");
    // What was downloaded is what an auditor holds against the log.
    let verify = ["audit", "verify", "audit", "--checkpoint", own.to_str().unwrap()];
    let audit = dir.join("audit");
    let verify = [&verify[..2], &[audit.to_str().unwrap()], &verify[3..]].concat();
    let (code, said) = payments.house.says("auditor", &verify);
    assert!(code == Some(0) && said.contains("none is gone since yours"), "{said}");

    payments.house.kill();
    copied(&dir, "mkdir newer && cp -r audit portcullis.db* newer/");
    copied(&dir, "rm -rf audit portcullis.db* && cp -r older/* .");
    let output = Command::new(crate::house::binary())
        .args(["serve", "--config", "portcullis.yaml", "--cores", "1"])
        .current_dir(&dir)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(!output.status.success() && said.contains("set back"), "{said}");
    assert!(said.contains("s3://record/notary/eu") && !said.contains(SECRET), "{said}");
    assert_eq!(fs::read_to_string(&newest).unwrap(), first, "nothing was put over it");
    copied(&dir, "rm -rf audit portcullis.db* && cp -r newer/* .");
    payments.house.restart();
    payments.enter(&ana());
    eventually("it goes on", || {
        let now = fs::read_to_string(&newest).unwrap();
        size_of(&now) > size_of(&first)
    });
}
