//! Visits to Services: who answers, and as whom it saw the visitor.

use std::{
    fmt,
    io::{self, BufRead, BufReader, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use socket2::{Domain, Socket, Type};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt},
    net::{TcpSocket, UdpSocket},
    task::JoinSet,
    time::{sleep, timeout_at},
};

use crate::{
    cluster::model::Protocol,
    lab::{LabError, namespace::Namespace},
};

/// Whom to visit, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Visit {
    /// TCP, or else UDP.
    pub protocol: Protocol,
    /// Whom.
    pub to: SocketAddr,
    /// From which port; 0 for one of the kernel's choice.
    pub from_port: u16,
    /// Octets of a datagram.
    pub length: usize,
}

impl Visit {
    /// A TCP connection.
    pub fn tcp(to: SocketAddr) -> Self {
        Self { protocol: Protocol::Tcp, to, from_port: 0, length: 0 }
    }

    /// A datagram.
    pub fn udp(to: SocketAddr) -> Self {
        Self { protocol: Protocol::Udp, to, from_port: 0, length: 64 }
    }
}

/// Who answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its name.
    pub who: String,
    /// Its own port.
    pub port: u16,
    /// The visitor's address, as it saw it.
    pub saw: IpAddr,
    /// The visitor's port, as it saw it.
    pub saw_port: u16,
}

/// How a visit ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Answered.
    Answered(Answer),
    /// No answer in time.
    Silence,
    /// Refused at once, by a reset or by ICMP.
    Refused,
    /// Something else.
    Failed(String),
}

impl Outcome {
    /// Who answered, if somebody did.
    pub fn answer(&self) -> Option<&Answer> {
        match self {
            Self::Answered(answer) => Some(answer),
            _ => None,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered(answer) => write!(f, "{} saw {}", answer.who, answer.saw),
            Self::Silence => f.write_str("no answer"),
            Self::Refused => f.write_str("refused"),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

/// Makes all visits at once from a namespace. An answer may take as long as `patience`; a datagram is sent
/// again several times meanwhile, as its user would.
///
/// # Errors
/// The namespace cannot be entered.
pub fn all(namespace: &Namespace, visits: &[Visit], patience: Duration) -> Result<Vec<Outcome>, LabError> {
    let numbered: Vec<(usize, Visit)> = visits.iter().copied().enumerate().collect();
    namespace.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(LabError::io("start a runtime"))?;
        runtime.block_on(async {
            let deadline = tokio::time::Instant::now() + patience;
            let mut tasks = JoinSet::new();
            for (number, visit) in numbered {
                tasks.spawn(async move {
                    let visited = timeout_at(deadline, visit_once(visit)).await;
                    (number, visited.map_or(Outcome::Silence, |result| result.unwrap_or_else(failure)))
                });
            }
            let mut outcomes: Vec<(usize, Outcome)> = tasks.join_all().await;
            outcomes.sort_by_key(|(number, _)| *number);
            Ok(outcomes.into_iter().map(|(_, outcome)| outcome).collect())
        })
    })
}

/// Makes one visit.
///
/// # Errors
/// The namespace cannot be entered.
pub fn once(namespace: &Namespace, visit: Visit, patience: Duration) -> Result<Outcome, LabError> {
    let outcome = all(namespace, &[visit], patience)?.pop();
    outcome.ok_or_else(|| LabError::check("a visit without an outcome"))
}

/// Any address of the same family.
fn any(to: SocketAddr, port: u16) -> SocketAddr {
    if to.is_ipv4() { ([0, 0, 0, 0], port).into() } else { ([0_u16; 8], port).into() }
}

fn failure(error: io::Error) -> Outcome {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Outcome::Refused,
        io::ErrorKind::TimedOut => Outcome::Silence,
        _ => Outcome::Failed(error.to_string()),
    }
}

async fn visit_once(visit: Visit) -> io::Result<Outcome> {
    let own = any(visit.to, visit.from_port);
    let mut said = String::new();
    if visit.protocol == Protocol::Udp {
        let socket = UdpSocket::bind(own).await?;
        socket.connect(visit.to).await?;
        let mut buffer = vec![0_u8; 65_536];
        loop {
            let told = |error: &io::Error| error.raw_os_error() == Some(nix::errno::Errno::EMSGSIZE as i32);
            // "Message too long" reports that a router told of a smaller MTU: the next try heeds it.
            if let Err(error) = socket.send(&vec![b'?'; visit.length]).await
                && !told(&error)
            {
                return Err(error);
            }
            tokio::select! {
                received = socket.recv(&mut buffer) => {
                    let count = match received {
                        Err(error) if told(&error) => continue,
                        received => received?,
                    };
                    if count < visit.length {
                        return Ok(Outcome::Failed(format!("{count} octets came back")));
                    }
                    said.push_str(&String::from_utf8_lossy(buffer.get(..count).unwrap_or_default()));
                    break;
                }
                () = sleep(Duration::from_millis(400)) => {}
            }
        }
    } else {
        let socket = if visit.to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(own)?;
        let connection = socket.connect(visit.to).await?;
        tokio::io::BufReader::new(connection.take(256)).read_line(&mut said).await?;
    }
    let line = said.lines().next().unwrap_or_default();
    Ok(read_line(line).map_or_else(|| Outcome::Failed(format!("said {line:?}")), Outcome::Answered))
}

fn read_line(line: &str) -> Option<Answer> {
    let mut words = line.split(' ');
    let who = words.next()?.to_owned();
    let (port, saw, saw_port) =
        (words.next()?.parse().ok()?, words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some(Answer { who, port, saw, saw_port })
}

/// A TCP connection to a Service that stays.
#[derive(Debug)]
pub struct Stay {
    connection: BufReader<TcpStream>,
    /// Who answers.
    pub answer: Answer,
}

impl Stay {
    /// Connects from a namespace; `from_port` is as for [`Visit`], and other connections may have the same.
    ///
    /// # Errors
    /// Nobody answers in time.
    pub fn begin(
        namespace: &Namespace,
        from_port: u16,
        to: SocketAddr,
        patience: Duration,
    ) -> Result<Self, LabError> {
        let step = || format!("visit {to} from port {from_port}");
        let connection: TcpStream = namespace.run(|| {
            let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(socket2::Protocol::TCP))
                .map_err(LabError::io(step()))?;
            socket.set_reuse_address(true).map_err(LabError::io(step()))?;
            socket.bind(&any(to, from_port).into()).map_err(LabError::io(step()))?;
            socket.connect_timeout(&to.into(), patience).map_err(LabError::io(step()))?;
            Ok(socket.into())
        })?;
        connection.set_read_timeout(Some(patience)).map_err(LabError::io(step()))?;
        let mut connection = BufReader::new(connection);
        let mut line = String::new();
        connection.read_line(&mut line).map_err(LabError::io(step()))?;
        let answer = read_line(line.trim_end());
        let answer = answer.ok_or_else(|| LabError::check(format!("{to} said {line:?}")))?;
        Ok(Self { connection, answer })
    }

    /// Says something and waits for it to come back. Returns how long it took.
    ///
    /// # Errors
    /// The connection is broken, or something else comes back.
    pub fn talk(&mut self, said: &str) -> Result<Duration, LabError> {
        let begun = Instant::now();
        let step = || format!("talk to {}", self.answer.who);
        self.connection.get_mut().write_all(said.as_bytes()).map_err(LabError::io(step()))?;
        let mut heard = vec![0_u8; said.len()];
        self.connection.read_exact(&mut heard).map_err(LabError::io(step()))?;
        if heard == said.as_bytes() {
            return Ok(begun.elapsed());
        }
        Err(LabError::check(format!("{}: something else came back", step())))
    }
}

/// Datagrams to a Service from one port that stays.
#[derive(Debug)]
pub struct Flow {
    socket: std::net::UdpSocket,
}

impl Flow {
    /// Opens it in a namespace.
    ///
    /// # Errors
    /// There is no route.
    pub fn open(namespace: &Namespace, to: SocketAddr) -> Result<Self, LabError> {
        let step = || format!("ask {to}");
        let socket = namespace.run(|| {
            let socket = std::net::UdpSocket::bind(any(to, 0)).map_err(LabError::io(step()))?;
            socket.connect(to).map_err(LabError::io(step()))?;
            Ok(socket)
        })?;
        socket.set_read_timeout(Some(Duration::from_millis(400))).map_err(LabError::io(step()))?;
        Ok(Self { socket })
    }

    /// Sends one datagram and waits a moment for the answer.
    pub fn ask(&self) -> Outcome {
        let mut buffer = [0_u8; 512];
        let received = self.socket.send(&[b'?'; 64]).and_then(|_| self.socket.recv(&mut buffer));
        match received {
            Ok(count) => {
                let said = String::from_utf8_lossy(buffer.get(..count).unwrap_or_default()).into_owned();
                let line = said.lines().next().unwrap_or_default();
                read_line(line).map_or_else(|| Outcome::Failed(format!("said {line:?}")), Outcome::Answered)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Outcome::Silence,
            Err(error) => failure(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_line_tells_who_it_is_and_whom_it_saw() {
        let answer = read_line("pod1 8080 192.168.10.10 40000").unwrap();
        assert_eq!((answer.who.as_str(), answer.port, answer.saw_port), ("pod1", 8080, 40_000));
        assert_eq!(answer.saw.to_string(), "192.168.10.10");
        assert_eq!(read_line("pod1 8080 somebody 1"), None);
    }
}
