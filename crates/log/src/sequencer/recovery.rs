//! Opening: whatever an earlier process left becomes part of the log before anything new does.

use std::{fs, sync::Arc};

use portcullis_model::Clock;

use super::{
    committed::{Committed, Progress},
    intake::{Damage, Intake},
    run::Sequencer,
    tree::Tree,
};
use crate::{
    Health, LogError, LogOptions, Signer,
    checkpoint::{self, Head},
    journal::segments::Segments,
    layout::Layout,
    segment,
};

/// Reads the commit record and the journals, brings the log up to date and commits.
pub(super) fn open(
    layout: &Layout,
    signer: Signer,
    options: &LogOptions,
    health: Arc<Health>,
) -> Result<Sequencer, LogError> {
    let committed = Committed::load(layout)?;
    let head = committed_head(layout, &committed, &signer)?;
    refuse_rollback(layout, head)?;
    refuse_sealed_beyond(layout, head)?;
    let tree = Tree::load(&layout.log(), head)?;
    let every = options.checkpoint_every;
    let mut sequencer =
        Sequencer::new(layout.clone(), signer, tree, committed.events, health, every);
    let mut old = Vec::new();
    for progress in journals(layout, committed.journals)? {
        let directory = layout.core_journal(progress.core);
        fs::create_dir_all(&directory)
            .map_err(|source| LogError::io("create", &directory, source))?;
        let segments = Arc::new(Segments::open(&directory, progress.core)?);
        let mut intake = Intake::resume(segments, progress);
        for damage in intake.recover(sequencer.tree())? {
            record_damage(sequencer.tree(), damage, &*options.clock)?;
        }
        intake.give_up_open(sequencer.tree())?;
        sequencer.settle(intake.progress());
        old.push(intake);
    }
    sequencer.commit()?;
    for intake in old {
        intake.segments.close();
        intake.segments.delete_below(intake.position())?;
    }
    Ok(sequencer)
}

fn committed_head(
    layout: &Layout,
    committed: &Committed,
    signer: &Signer,
) -> Result<Option<Head>, LogError> {
    if committed.checkpoint.is_empty() {
        return Ok(None);
    }
    checkpoint::open(&committed.checkpoint, signer.keys())
        .map(Some)
        .map_err(|what| LogError::damaged(layout.committed(), format!("its checkpoint: {what}")))
}

/// A published checkpoint beyond the commit record means that the record was lost or set back: going
/// on would sign a second history.
fn refuse_rollback(layout: &Layout, head: Option<Head>) -> Result<(), LogError> {
    let path = layout.log().join("checkpoint");
    let text = match fs::read(&path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(LogError::io("read", path, error)),
    };
    // It is published without a sync, so that a power cut can leave a part of it. As with none at all,
    // nothing can be compared, and the commit record's own is published again.
    let Some(published) = checkpoint::read(&text) else {
        tracing::warn!(path = %path.display(), "the published checkpoint is torn: it is made anew");
        return Ok(());
    };
    let committed = head.map_or(0, |head| head.size);
    let forked = head.is_some_and(|head| head.size == published.size && head != published);
    if published.size > committed || forked {
        let what = format!(
            "it speaks of {} entries, `committed` of {committed}: one of them was set back",
            published.size
        );
        return Err(LogError::damaged(path, what));
    }
    Ok(())
}

/// Only what is committed is sealed: a segment beyond that means that an older state was put over the
/// record. Opened, it would be believed to be sealed, and its entries would go.
fn refuse_sealed_beyond(layout: &Layout, head: Option<Head>) -> Result<(), LogError> {
    let committed = head.map_or(0, |head| head.size);
    match segment::newest(&layout.log())? {
        Some(newest) if newest >= committed / segment::ENTRIES => {
            let path = layout.log().join(segment::name(newest));
            let what = format!(
                "it holds entries behind the {committed} of `committed`: one of them was set back"
            );
            Err(LogError::damaged(path, what))
        }
        _ => Ok(()),
    }
}

/// The progress of every journal that is on disk or in the commit record.
fn journals(layout: &Layout, mut known: Vec<Progress>) -> Result<Vec<Progress>, LogError> {
    let directory = layout.journal();
    let entries =
        fs::read_dir(&directory).map_err(|source| LogError::io("list", &directory, source))?;
    for entry in entries {
        let entry = entry.map_err(|source| LogError::io("list", &directory, source))?;
        let name = entry.file_name();
        let core = name.to_str().and_then(|name| name.strip_prefix("core-")?.parse().ok());
        if let Some(core) = core
            && !known.iter().any(|progress| progress.core == core)
        {
            known.push(Progress { core, ..Progress::default() });
        }
    }
    known.sort_by_key(|progress| progress.core);
    Ok(known)
}

/// A gap is an entry too: whoever reads the record sees that, and where, something is missing.
fn record_damage(tree: &mut Tree, damage: Damage, clock: &dyn Clock) -> Result<(), LogError> {
    let Damage { core, position, bytes } = damage;
    tracing::error!(core, position, bytes, "a part of a journal is unreadable");
    let entry = serde_json::json!({
        "time": clock.now(),
        "type": "journal_damaged",
        "class": 6002,
        "detail": format!(
            "{bytes} bytes at {position} of the journal of core {core} were unreadable after a \
             crash: what was recorded there is lost"
        ),
    })
    .to_string();
    tree.push(|out| out.extend_from_slice(entry.trim_start_matches('{').as_bytes()))?;
    Ok(())
}
