//! Area `qemu-monitor`: QMP and its schema.

use crate::corpus::{Case, Corpus};
use crate::outcome::Outcome;
use serde_json::Value;
use virt_driver_qemu::capabilities::qapi::{Found, Schema};
use virt_driver_qemu::capabilities::recorded::Recorded;
use virt_driver_qemu::monitor::{Command, QmpPeer as _};

/// A path into the schema.
pub fn schema_query(case: &Case, corpus: &Corpus) -> Outcome {
    schema_query_inner(case, corpus).into()
}

fn schema_query_inner(case: &Case, corpus: &Corpus) -> Result<Outcome, String> {
    let schema = schema(case, corpus)?;
    let (result, returns_object) = match schema.query(case.text("query")?) {
        Err(_) => (-1, false),
        Ok(Found::Nothing) => (0, false),
        Ok(Found::Fact) => (1, false),
        Ok(Found::Entry(_)) => (1, true),
    };
    Ok(Outcome::all([
        Outcome::equal("result", &Value::from(result), case.param("result")),
        Outcome::equal(
            "object",
            &Value::from(returns_object),
            case.param("returns_object"),
        ),
    ]))
}

fn schema(case: &Case, corpus: &Corpus) -> Result<Schema, String> {
    let replies = case
        .more
        .get("qemu_caps")
        .and_then(|caps| caps.get("replies")?.as_str())
        .ok_or("the case names no recorded replies")?;
    let text = corpus.text(replies)?;
    let schema = (|| {
        let mut session = Recorded::sessions(&text)?.into_iter().next().unwrap_or_default();
        let reply = session.execute(Command::new("query-qmp-schema"))?;
        Schema::from_reply(reply.map_err(|error| error.into_error("query-qmp-schema"))?)
    })();
    schema.map_err(|error| error.to_string())
}
