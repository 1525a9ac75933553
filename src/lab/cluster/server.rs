//! What runs in Pods: answers each connection and datagram with who it is and whom it saw.

use std::{
    net::{SocketAddr, TcpListener, UdpSocket},
    thread::JoinHandle,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::oneshot,
    task::JoinSet,
};

use crate::{
    cluster::model::Protocol,
    lab::{LabError, Namespace, namespace::joined},
};

/// Connections that may wait to be accepted.
const QUEUE: i32 = 4_096;

/// Serves until dropped.
///
/// A TCP connection gets one line, `NAME PORT CLIENT CLIENTPORT`, and from then on everything back that it sends. A
/// datagram gets the same line, filled up to its own length.
#[derive(Debug)]
pub struct Server {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), LabError>>>,
}

impl Server {
    /// Serves at these addresses in a namespace, under the namespace's name. Once this returns, it listens.
    ///
    /// # Errors
    /// An address is not there or taken.
    pub fn start(namespace: &Namespace, at: &[(Protocol, SocketAddr)]) -> Result<Self, LabError> {
        let (mut listeners, mut sockets) = (Vec::new(), Vec::new());
        namespace.run(|| {
            for (protocol, address) in at {
                let failed = || LabError::io(format!("serve {protocol} at {address}"));
                match protocol {
                    Protocol::Udp => {
                        let socket = UdpSocket::bind(address).map_err(failed())?;
                        socket.set_nonblocking(true).map_err(failed())?;
                        sockets.push(socket);
                    }
                    _ => {
                        let listener = TcpListener::bind(address).map_err(failed())?;
                        // A crowd that comes at once: who does not fit gets a SYN cookie and may never be heard.
                        socket2::SockRef::from(&listener).listen(QUEUE).map_err(failed())?;
                        listener.set_nonblocking(true).map_err(failed())?;
                        listeners.push(listener);
                    }
                }
            }
            Ok(())
        })?;
        let (stop, stopped) = oneshot::channel();
        let name = namespace.name();
        let thread = namespace.thread(move || {
            let failed = || LabError::io(format!("serve in {name}"));
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed())?;
            runtime.block_on(async {
                let mut tasks = JoinSet::new();
                for listener in listeners {
                    tasks.spawn(accept(name, tokio::net::TcpListener::from_std(listener).map_err(failed())?));
                }
                for socket in sockets {
                    tasks.spawn(answer(name, tokio::net::UdpSocket::from_std(socket).map_err(failed())?));
                }
                // Stopped, or its owner is gone.
                let _ = stopped.await;
                Ok(())
            })
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = joined(thread);
        }
    }
}

fn line(name: &str, port: u16, client: SocketAddr) -> String {
    format!("{name} {port} {} {}\n", client.ip(), client.port())
}

async fn accept(name: &'static str, listener: tokio::net::TcpListener) {
    let port = listener.local_addr().map_or(0, |address| address.port());
    let mut connections = JoinSet::new();
    while let Ok((mut connection, client)) = listener.accept().await {
        connections.spawn(async move {
            connection.write_all(line(name, port, client).as_bytes()).await?;
            let mut buffer = [0_u8; 4_096];
            loop {
                let count = connection.read(&mut buffer).await?;
                match buffer.get(..count) {
                    Some(said) if count > 0 => connection.write_all(said).await?,
                    _ => return Ok::<(), std::io::Error>(()),
                }
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(name: &'static str, socket: tokio::net::UdpSocket) {
    let port = socket.local_addr().map_or(0, |address| address.port());
    let mut buffer = vec![0_u8; 65_536];
    loop {
        // A refused answer shows as an error of the next call.
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else { continue };
        let mut reply = line(name, port, client).into_bytes();
        reply.resize(length.max(reply.len()), b'.');
        let _ = socket.send_to(&reply, client).await;
    }
}
