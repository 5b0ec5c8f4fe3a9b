//! Messages in a chat: one for each place, changed in turn, their buttons good once.

use portcullis_model::{AccessRequestId, NoticeId, TokenHash};
use portcullis_store::{ButtonAct, Change, ChatChange, Posted, StoredButton, StoredMessage};

use super::{Shared, add, is_conflict, made};

fn message(n: u128, place: &str) -> StoredMessage {
    StoredMessage {
        id: NoticeId::from_bits(n),
        access_request: AccessRequestId::from_bits(1),
        place: place.into(),
        posted: None,
        shown: None,
        version: 0,
        to_reviewer: false,
        anyway: false,
    }
}

fn button(message: u128) -> StoredButton {
    StoredButton {
        message: NoticeId::from_bits(message),
        access_request: AccessRequestId::from_bits(1),
        act: ButtonAct::Approve,
    }
}

fn change(change: ChatChange) -> Vec<Change> {
    vec![Change::Chat(Box::new(change))]
}

pub(crate) async fn e08_a_button_is_good_once_and_while_it_is_shown(store: Shared) {
    store.commit(vec![add(made::request(1, "ana", "payments.createRefund"))]).await.unwrap();
    store.commit(change(ChatChange::Add(message(1, "#a")))).await.unwrap();
    let [old, new, other] = ["old", "new", "other"].map(TokenHash::of);
    store.commit(change(ChatChange::Draw(vec![(old, button(1))]))).await.unwrap();
    store
        .commit(change(ChatChange::Draw(vec![(new, button(1)), (other, button(1))])))
        .await
        .unwrap();
    assert_eq!(store.chat_button(&old).await.unwrap(), Some(button(1)));
    let posted = Some(Posted { channel: "C1".into(), ts: "1.2".into() });
    let shown = StoredMessage { posted, version: 1, ..message(1, "#a") };
    let show = ChatChange::Show { message: shown.clone(), buttons: vec![new, other] };
    store.commit(change(show.clone())).await.unwrap();
    assert!(is_conflict(&store.commit(change(show)).await), "somebody else showed it meanwhile");
    assert_eq!(store.chat_button(&old).await.unwrap(), None);
    store.commit(change(ChatChange::Press(new))).await.unwrap();
    assert!(is_conflict(&store.commit(change(ChatChange::Press(new))).await));
    assert_eq!(store.chat_messages().await.unwrap(), [shown]);
    store.commit(change(ChatChange::End(NoticeId::from_bits(1)))).await.unwrap();
    assert_eq!(store.chat_button(&other).await.unwrap(), None);
    assert!(store.chat_messages().await.unwrap().is_empty());
}

pub(crate) async fn one_place_has_one_message_about_the_same(store: Shared) {
    store.commit(vec![add(made::request(1, "ana", "payments.createRefund"))]).await.unwrap();
    for (n, place) in [(1, "#a"), (2, "#a"), (3, "#b")] {
        store.commit(change(ChatChange::Add(message(n, place)))).await.unwrap();
    }
    let all = store.chat_messages_about(AccessRequestId::from_bits(1)).await.unwrap();
    assert_eq!(all, [message(1, "#a"), message(3, "#b")]);
    let none = store.chat_messages_about(AccessRequestId::from_bits(2)).await.unwrap();
    assert!(none.is_empty());
}
