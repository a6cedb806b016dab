use sea_orm::{ActiveValue::Set, QueryResult};
use tokend_core::{row_mac::RowMac, time::Timestamp, webhook::Message};

use crate::{
    outbox::tables::webhook_outbox::{ActiveModel, Model},
    row::{Row, column},
};

impl Row for Message {
    type Id = String;
    type Model = Model;

    fn key(model: &Model) -> String {
        model.id.clone()
    }

    fn key_of_undecoded(columns: &QueryResult, prefix: &str) -> Option<String> {
        columns.try_get(prefix, "id").ok()
    }

    fn mac(model: &Model) -> &[u8] {
        &model.mac
    }

    fn from_model(model: Model) -> Result<Self, String> {
        // The times and the number of attempts are no part of the message.
        let Model {
            id,
            event,
            subject,
            payload,
            create_time: _,
            attempts: _,
            due_time: _,
            mac: _,
        } = model;
        Ok(Self {
            id: column("id", id.parse())?,
            event,
            subject,
            payload,
        })
    }
}

/// Returns the row to insert. The message is due immediately.
pub(crate) fn to_model(message: &Message, now: Timestamp, mac: &RowMac) -> ActiveModel {
    let Message {
        id,
        event,
        subject,
        payload,
    } = message;
    ActiveModel {
        id: Set(id.to_string()),
        event: Set(event.clone()),
        subject: Set(subject.clone()),
        payload: Set(payload.clone()),
        create_time: Set(now.unix_micros()),
        attempts: Set(0),
        due_time: Set(now.unix_micros()),
        mac: Set(mac.to_bytes().to_vec()),
    }
}
