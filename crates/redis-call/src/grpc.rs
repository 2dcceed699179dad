//! The argument that names the cluster when a gRPC stream is opened.

/// `envoy.config.core.v3.GrpcService {envoy_grpc: {cluster_name}}` in protobuf. A `cluster` longer than 125 bytes is
/// returned as it is: Envoy also accepts a bare name, but only if it does not parse as such a message.
pub fn grpc_service(cluster: &str) -> String {
    match u8::try_from(cluster.len() + 2) {
        Ok(outer) if outer < 0x80 => {
            let mut message = String::from("\x0a");
            message.push(char::from(outer));
            message.push('\x0a');
            message.push(char::from(outer - 2));
            message + cluster
        }
        _ => cluster.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_is_a_message_with_its_name_in_a_message() {
        assert_eq!(grpc_service("redis_call"), "\x0a\x0c\x0a\x0aredis_call");
        let long = "c".repeat(126);
        assert_eq!(grpc_service(&long), long);
    }
}
