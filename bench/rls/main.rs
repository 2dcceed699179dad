//! A rate-limit service as people run one behind Envoy's `ratelimit` filter: `RateLimitService` on `limitador`, each
//! request counted in Redis at once, and no work beyond that. One thread: with one Envoy worker there is one HTTP/2
//! connection, and handing its requests to other threads costs more than they are worth.
//!
//! It asks limitador's Redis storage directly: there is one limit, and nothing to look up.
//!
//!     rls PORT REDIS-URL LIMIT SECONDS      counts by the descriptor `api_key`

use envoy_types::pb::envoy::service::ratelimit::v3 as pb;
use limitador::counter::Counter;
use limitador::limit::Limit;
use limitador::storage::redis::AsyncRedisStorage;
use limitador::storage::{AsyncCounterStorage, Authorization};
use pb::rate_limit_response::Code;
use pb::rate_limit_service_server::{RateLimitService, RateLimitServiceServer};
use std::error::Error;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The descriptor that identifies callers.
const DESCRIPTOR: &str = "api_key";

struct Service {
    storage: AsyncRedisStorage,
    limit: Limit,
}

#[tonic::async_trait]
impl RateLimitService for Service {
    async fn should_rate_limit(
        &self,
        request: Request<pb::RateLimitRequest>,
    ) -> Result<Response<pb::RateLimitResponse>, Status> {
        let descriptors = request.into_inner().descriptors;
        let entries = descriptors.into_iter().flat_map(|descriptor| descriptor.entries);
        let variables = entries.map(|entry| (entry.key, entry.value)).collect();
        let mut counters = vec![Counter::new(self.limit.clone(), variables)];
        let answer = self.storage.check_and_update(&mut counters, 1, false).await;
        let code = match answer.map_err(|error| Status::unavailable(error.to_string()))? {
            Authorization::Ok => Code::Ok,
            Authorization::Limited(_) => Code::OverLimit,
        };
        Ok(Response::new(pb::RateLimitResponse {
            overall_code: code.into(),
            ..Default::default()
        }))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [port, redis, limit, seconds] = arguments.as_slice() else {
        return Err("usage: rls PORT REDIS-URL LIMIT SECONDS".into());
    };
    let (port, limit, seconds) = (port.parse::<u16>()?, limit.parse()?, seconds.parse()?);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let service = Service {
            storage: AsyncRedisStorage::new(redis).await?,
            limit: Limit::new("bench", limit, seconds, Vec::<String>::new(), vec![DESCRIPTOR]),
        };
        let server = Server::builder().add_service(RateLimitServiceServer::new(service));
        server.serve(([127, 0, 0, 1], port).into()).await?;
        Ok(())
    })
}
