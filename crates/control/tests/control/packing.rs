//! Evidence packs are put together in memory: what would take too much of it is refused, with what to ask for.

use portcullis_control::ControlError;

use crate::world::World;

const OPERATION: &str = "payments.createRefund";

/// What a gate would put on record of a request by the grant, with so many bytes of a path.
fn used(world: &World, grant: &str, bytes: usize) -> u64 {
    let path = "x".repeat(bytes);
    world.log.attempt(format!(r#"{{"type":"attempt","grant":"{grant}","path":"/{path}"}}"#))
}

#[tokio::test]
async fn a_pack_that_would_be_too_large_is_refused_with_what_to_ask_for() {
    let world = World::new().await;
    let ana = world.sign_in("ana", &["oncall"]).await;
    let sam = world.sign_in("sam", &["auditors"]).await;
    let asked = world.ask(&ana, OPERATION).await.unwrap();
    let grant = world.control().grants(&world.later(&ana)).await.unwrap()[0].id.to_string();
    let request = asked.request.id.to_string();
    let evidence = async |id: &str| world.control().evidence(&world.later(&sam), id).await;
    for _ in 0..31 {
        used(&world, &grant, 1 << 20);
    }
    let all = evidence(&grant).await.unwrap();
    assert!(all.records.iter().map(|line| line.json.len()).sum::<usize>() > 31 << 20);
    used(&world, &grant, 1 << 20);
    for (id, instead) in [(&grant, "--since"), (&request, "ask for one of its grants")] {
        let refused = evidence(id).await;
        let Err(ControlError::Invalid { field: "id", message }) = refused else {
            panic!("{refused:?}")
        };
        assert!(message.contains("32 MiB") && message.contains(instead), "{message}");
    }
}
