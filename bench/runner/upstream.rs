//! The service behind all Envoys: one thread that answers every request with `ok`, in a few microseconds.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const END: &[u8] = b"\r\n\r\n";

/// Starts the server on a free port. It runs until the runner ends, and supports only requests without a body.
pub fn start() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port for the upstream");
    listener.set_nonblocking(true).expect("a non-blocking listener");
    let port = listener.local_addr().expect("its address").port();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let listener = TcpListener::from_std(listener).expect("a listener");
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                tokio::spawn(serve(stream));
            }
        })
    });
    port
}

async fn serve(mut stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let (mut buffer, mut filled) = ([0; 8192], 0);
    while let Ok(read @ 1..) = stream.read(&mut buffer[filled..]).await {
        filled += read;
        if buffer[..filled].ends_with(END) {
            filled = 0;
            if stream.write_all(ANSWER).await.is_err() {
                return;
            }
        }
    }
}
