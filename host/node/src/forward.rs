//! A follower's transactions on their way to the leader.

use crate::feed::{BoxError, connect};
use annex_rpc::Rejected;
use jsonrpsee::core::{
    ClientError,
    client::{Client, ClientT},
    params::{ArrayParams, BatchRequestBuilder},
};
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{Mutex, Semaphore},
    time::timeout,
};

/// Hand-offs on their way at a time; more are refused.
const CONCURRENT: usize = 256;

/// The connection to a leader, made when it is first needed and made again when it broke.
#[derive(Debug)]
pub(crate) struct Forward {
    url: String,
    client: Mutex<Option<Arc<Client>>>,
    permits: Semaphore,
}

impl Forward {
    pub fn new(url: String) -> Self {
        Self { url, client: Mutex::default(), permits: Semaphore::new(CONCURRENT) }
    }

    /// Calls a method once with each of these parameters.
    pub async fn call(
        &self,
        method: &'static str,
        calls: Vec<Vec<Value>>,
        patience: Duration,
    ) -> Vec<Result<Value, Rejected>> {
        let count = calls.len();
        let all = |why: &Rejected| vec![Err(why.clone()); count];
        let Ok(_permit) = self.permits.try_acquire() else { return all(&Rejected::Forwarding) };
        metrics::counter!("annex_forwarded_total").increment(count as u64);
        match timeout(patience, self.send(method, calls)).await {
            Ok(Ok(answers)) => answers,
            Ok(Err(error)) => {
                tracing::warn!(url = self.url, %error, "the leader cannot be reached");
                all(&Rejected::LeaderSilent)
            }
            Err(_) => {
                tracing::warn!(url = self.url, ?patience, "the leader does not answer");
                all(&Rejected::LeaderSilent)
            }
        }
    }

    async fn client(&self) -> Result<Arc<Client>, BoxError> {
        let mut kept = self.client.lock().await;
        if let Some(client) = kept.as_ref().filter(|client| client.is_connected()) {
            return Ok(client.clone());
        }
        let client = Arc::new(connect(&self.url).await?);
        *kept = Some(client.clone());
        Ok(client)
    }

    async fn send(
        &self,
        method: &'static str,
        mut calls: Vec<Vec<Value>>,
    ) -> Result<Vec<Result<Value, Rejected>>, BoxError> {
        let client = self.client().await?;
        if calls.len() == 1 {
            let answer = client.request(method, array(calls.pop().unwrap_or_default())?).await;
            return match answer {
                Ok(value) => Ok(vec![Ok(value)]),
                Err(ClientError::Call(error)) => Ok(vec![Err(Rejected::ByLeader(error))]),
                Err(error) => Err(error.into()),
            };
        }
        let mut batch = BatchRequestBuilder::new();
        for call in calls {
            batch.insert(method, array(call)?)?;
        }
        let answers = client.batch_request::<Value>(batch).await?;
        Ok(answers
            .into_iter()
            .map(|answer| answer.map_err(|error| Rejected::ByLeader(error.into_owned())))
            .collect())
    }
}

fn array(values: Vec<Value>) -> Result<ArrayParams, serde_json::Error> {
    let mut params = ArrayParams::new();
    for value in values {
        params.insert(value)?;
    }
    Ok(params)
}
