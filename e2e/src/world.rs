//! Where processes run: a folder, ports and names that no other test has. A folder of a test that passed is deleted; of one that
//! failed it stays, under `target/e2e`.

use crate::process::{Process, Role};
use crate::{client, cql, tls};
use anyhow::Context;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// For a start or an end, on a test machine that does other things as well.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Milliseconds after which the group takes a silent aggregator's partitions; the shortest that brokers allow by default.
pub const SESSION_MS: u64 = 6000;
/// What is shown of each log where a test failed: its last lines, and the first characters of each.
const LOG_LINES: usize = 60;
const LOG_CHARS: usize = 300;

/// A folder of a test.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> anyhow::Result<Self> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../target/e2e")
            .join(name);
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    /// The last that each service logged, since a folder on another machine may be out of reach. librdkafka's lines would hide the rest.
    fn show_logs(&self) {
        for log in std::fs::read_dir(&self.0).into_iter().flatten().flatten() {
            let path = log.path();
            if path.extension().is_none_or(|extension| extension != "log") {
                continue;
            }
            let text = std::fs::read(&path).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let ours: Vec<_> = text.lines().filter(|line| !line.contains("librdkafka")).collect();
            eprintln!("last lines of {}, but librdkafka's:", path.display());
            for line in ours.iter().skip(ours.len().saturating_sub(LOG_LINES)) {
                eprintln!("  {}", line.chars().take(LOG_CHARS).collect::<String>());
            }
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("logs and data stay in {}", self.0.display());
            self.show_logs();
        } else {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

/// Everything in one process, on a folder.
#[derive(Debug)]
pub struct Embedded {
    /// Where it answers.
    pub address: SocketAddr,
    admin: SocketAddr,
    folder: Folder,
}

impl Embedded {
    /// A folder and ports for `tidemark run`.
    ///
    /// # Errors
    /// If there is no room for a folder or port.
    pub fn new(scenario: &str) -> anyhow::Result<Self> {
        let folder = Folder::new(&unique(scenario)?)?;
        Ok(Self {
            address: free_port()?,
            admin: free_port()?,
            folder,
        })
    }

    /// `tidemark run`.
    pub fn run(&self) -> Role {
        let mut role = self.role("run");
        role.args.push(format!("--listen={}", self.address));
        role.args.push(format!("--admin-listen={}", self.admin));
        role.admin = Some(self.admin);
        role
    }

    /// `tidemark audit --embedded`.
    pub fn audit(&self) -> Role {
        let mut role = self.role("audit");
        role.args.push("--embedded".to_owned());
        role
    }

    fn role(&self, name: &str) -> Role {
        let data = self.folder.0.join("data");
        Role {
            name: name.to_owned(),
            args: vec![name.to_owned(), format!("--data={}", data.display())],
            env: Vec::new(),
            log: self.folder.0.join(format!("{name}.log")),
            admin: None,
            wrapper: Vec::new(),
        }
    }
}

/// The services on Kafka, the registry and the view store, with topics and a keyspace of their own.
#[derive(Debug)]
pub struct Cluster {
    /// Where ingest answers.
    pub ingest_address: SocketAddr,
    /// Where queries are answered.
    pub query_address: SocketAddr,
    /// Topic of the events.
    pub events_topic: String,
    /// Keyspace of the views.
    pub keyspace: String,
    /// The broker.
    pub broker: String,
    /// The view store.
    pub store: SocketAddr,
    /// The URL of the registry.
    pub registry: String,
    /// Where ingest and query listen; clients reach them there, or through the tunnels of `secure`.
    listen: [SocketAddr; 2],
    secure: Option<Secure>,
    env: Vec<(String, String)>,
    folder: Folder,
}

/// What stands between the tests of a cluster whose links are all encrypted, and what they talk to.
struct Secure {
    certificates: PathBuf,
    /// To ingest, query and the view store, and in front of the registry.
    _ports: [tls::Port; 4],
}

impl std::fmt::Debug for Secure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secure({})", self.certificates.display())
    }
}

/// Kafka's users and the store's roles of the engines of tests; each has its name with `-password` behind it as password.
const USERS: [&str; 4] = ["ingest", "aggregate", "query", "audit"];
/// What the registry's front wants to see: `tidemark:registry-password` in base64 (RFC 7617).
const REGISTRY_LOGIN: &str = "Authorization: Basic dGlkZW1hcms6cmVnaXN0cnktcGFzc3dvcmQ=";

impl Cluster {
    /// Names, ports and a folder; then `tidemark migrate`.
    ///
    /// # Errors
    /// If an engine's address is not set or `migrate` fails.
    pub fn new(scenario: &str) -> anyhow::Result<Self> {
        let cluster = Self::unmade(scenario)?;
        cluster.migrate(&[])?;
        Ok(cluster)
    }

    /// The same with every link encrypted, on engines that let in who is known alone: each role comes by a user of its own that has the
    /// rights of that role and no others.
    ///
    /// # Errors
    /// As there; if the engines are no secure ones.
    pub fn secured(scenario: &str) -> anyhow::Result<Self> {
        let mut cluster = Self::unmade(scenario)?;
        let certificates = PathBuf::from(engine("TIDEMARK_TEST_CERTIFICATES")?);
        let authority = certificates.join("ca.pem");
        let [ingest, query] = cluster.listen;
        let registry: SocketAddr = {
            let (_, rest) = cluster
                .registry
                .split_once("://")
                .context("the registry has an address")?;
            rest.split('/').next().unwrap_or_default().parse()?
        };
        let ports = [
            tls::Port::tunnel(ingest, &authority)?,
            tls::Port::tunnel(query, &authority)?,
            tls::Port::tunnel(cluster.store, &authority)?,
            tls::Port::front(registry, &certificates, "server", Some(REGISTRY_LOGIN))?,
        ];
        let [to_ingest, to_query, to_store, front] = ports.each_ref().map(|port| port.address);
        (cluster.ingest_address, cluster.query_address, cluster.store) = (to_ingest, to_query, to_store);
        cluster.registry = format!("https://{front}/apis/ccompat/v7");
        for user in USERS {
            cluster.password(user, &format!("{user}-password"))?;
            let role = format!(
                "CREATE ROLE IF NOT EXISTS {user} WITH PASSWORD = '{user}-password' AND LOGIN = true"
            );
            cql::execute(cluster.store, &role, PATIENCE)?;
        }
        cluster.password("admin", "admin-password")?;
        cluster.password("cassandra", "cassandra")?;
        let registry_password = cluster.password("registry", "registry-password")?;
        for (name, kind) in [("certificate", "pem"), ("key", "key")] {
            std::fs::copy(certificates.join(format!("server.{kind}")), cluster.path(name))?;
        }
        let settings = [
            ("KAFKA__TLS__ENABLED", "true".to_owned()),
            ("KAFKA__TLS__CA_FILE", authority.display().to_string()),
            ("STORE__TLS__ENABLED", "true".to_owned()),
            ("STORE__TLS__CA_FILE", authority.display().to_string()),
            ("REGISTRY__URL", cluster.registry.clone()),
            ("REGISTRY__CA_FILE", authority.display().to_string()),
            ("REGISTRY__USERNAME", "tidemark".to_owned()),
            ("REGISTRY__PASSWORD_FILE", registry_password.display().to_string()),
        ];
        for (name, value) in settings {
            cluster.set(&format!("TIDEMARK_{name}"), value);
        }
        cluster.secure = Some(Secure {
            certificates,
            _ports: ports,
        });
        let acl = |user: &str| format!("--acl={user}=User:{user}");
        let grant = |user: &str| format!("--grant={user}={user}");
        let mut rights: Vec<String> = USERS.iter().flat_map(|user| [acl(user), grant(user)]).collect();
        // One comes by its certificate.
        rights.push("--acl=aggregate=User:CN=client".to_owned());
        cluster.migrate(&rights)?;
        Ok(cluster)
    }

    /// The folder of the certificates of a cluster whose links are encrypted.
    ///
    /// # Errors
    /// If it is no such one.
    pub fn certificates(&self) -> anyhow::Result<&Path> {
        let secure = self.secure.as_ref().context("its links are plain")?;
        Ok(&secure.certificates)
    }

    /// Writes a file with a password, and says where it is.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn password(&self, name: &str, password: &str) -> anyhow::Result<PathBuf> {
        let file = self.path(&format!("{name}.password"));
        std::fs::write(&file, format!("{password}\n"))?;
        Ok(file)
    }

    /// `tidemark migrate`, with these arguments behind it.
    ///
    /// # Errors
    /// If it does not end with 0; the text holds the code and its last words.
    pub fn migrate(&self, rights: &[String]) -> anyhow::Result<()> {
        let mut migrate = self.role("migrate", "migrate");
        migrate.args.extend_from_slice(rights);
        let code = migrate.run(PATIENCE)?;
        anyhow::ensure!(
            code == 0,
            "migrate ended with {code}\n{}",
            crate::process::last_lines(&migrate.log)
        );
        Ok(())
    }

    fn unmade(scenario: &str) -> anyhow::Result<Self> {
        let (broker, store) = (engine("TIDEMARK_TEST_KAFKA")?, engine("TIDEMARK_TEST_CASSANDRA")?);
        let registry = engine("TIDEMARK_TEST_REGISTRY")?;
        let name = unique(scenario)?;
        let keyspace = format!("e2e_{}", name.replace('-', "_"));
        let events_topic = format!("{name}.events");
        let env = [
            ("KAFKA__BROKERS", broker.clone()),
            ("KAFKA__PREFIX", name.clone()),
            ("KAFKA__GROUP", name.clone()),
            ("KAFKA__EVENTS_TOPIC", events_topic.clone()),
            ("KAFKA__SESSION_TIMEOUT_MS", SESSION_MS.to_string()),
            ("REGISTRY__URL", registry.clone()),
            ("STORE__NODES", store.clone()),
            ("STORE__KEYSPACE", keyspace.clone()),
            // Else ledgers would hold more than a test sent.
            ("QUERY__CANARY_INTERVAL_MS", "0".to_owned()),
        ];
        let listen = [free_port()?, free_port()?];
        let cluster = Self {
            ingest_address: listen[0],
            query_address: listen[1],
            listen,
            secure: None,
            events_topic,
            keyspace,
            broker,
            store: store
                .parse()
                .context("TIDEMARK_TEST_CASSANDRA is host:port with a numeric host")?,
            registry,
            env: env
                .map(|(name, value)| (format!("TIDEMARK_{name}"), value))
                .to_vec(),
            folder: Folder::new(&name)?,
        };
        Ok(cluster)
    }

    /// Gives all roles that are asked for from now on one more setting, or another value of one.
    pub fn set(&mut self, variable: &str, value: impl ToString) {
        self.env.push((variable.to_owned(), value.to_string()));
    }

    /// `tidemark ingest`.
    ///
    /// # Errors
    /// If there is no free port.
    pub fn ingest(&self) -> anyhow::Result<Role> {
        self.serving("ingest", "ingest", Some(self.listen[0]))
    }

    /// `tidemark query`.
    ///
    /// # Errors
    /// If there is no free port.
    pub fn query(&self) -> anyhow::Result<Role> {
        self.serving("query", "query", Some(self.listen[1]))
    }

    /// `tidemark aggregate`: a static member of the group by the name of `name`, or a dynamic one.
    ///
    /// # Errors
    /// If there is no free port.
    pub fn aggregate(&self, name: &str, is_static: bool) -> anyhow::Result<Role> {
        let mut role = self.serving(name, "aggregate", None)?;
        if is_static {
            role.env
                .push(("TIDEMARK_KAFKA__INSTANCE_ID".to_owned(), name.to_owned()));
        }
        Ok(role)
    }

    /// `tidemark audit --wait`.
    pub fn audit(&self, wait_s: u64) -> Role {
        let mut role = self.role("audit", "audit");
        role.args.push(format!("--wait={wait_s}"));
        role
    }

    /// A path in the folder of the test.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.0.join(name)
    }

    fn serving(&self, name: &str, command: &str, listen: Option<SocketAddr>) -> anyhow::Result<Role> {
        let mut role = self.role(name, command);
        let admin = free_port()?;
        role.args.push(format!("--admin-listen={admin}"));
        role.args
            .extend(listen.map(|address| format!("--listen={address}")));
        role.admin = Some(admin);
        Ok(role)
    }

    /// Any command, by the name of `name`.
    pub fn role(&self, name: &str, command: &str) -> Role {
        let data = self.folder.0.join(name);
        let mut env = self.env.clone();
        if self.secure.is_some() {
            env.extend(self.login(command));
        }
        Role {
            name: name.to_owned(),
            args: vec![command.to_owned(), format!("--data={}", data.display())],
            env,
            log: self.folder.0.join(format!("{name}.log")),
            admin: None,
            wrapper: Vec::new(),
        }
    }
}

impl Cluster {
    /// Who a subcommand is to Kafka and to the store, and the certificate that it shows.
    fn login(&self, command: &str) -> Vec<(String, String)> {
        let (user, role) = match command {
            "migrate" => ("admin", "cassandra"),
            command => (command, command),
        };
        let file = |name: &str| self.path(name).display().to_string();
        let mut settings = vec![
            ("KAFKA__SASL__USERNAME", user.to_owned()),
            ("KAFKA__SASL__PASSWORD_FILE", file(&format!("{user}.password"))),
            ("STORE__USERNAME", role.to_owned()),
            ("STORE__PASSWORD_FILE", file(&format!("{role}.password"))),
        ];
        if matches!(command, "ingest" | "query") {
            settings.push(("HTTP__TLS__CERTIFICATE_FILE", file("certificate")));
            settings.push(("HTTP__TLS__KEY_FILE", file("key")));
        }
        let variables = settings.into_iter();
        variables
            .map(|(name, value)| (format!("TIDEMARK_{name}"), value))
            .collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Else each run would leave its tables in the memory of the store for ever.
        let _ = cql::execute(
            self.store,
            &format!("DROP KEYSPACE IF EXISTS {}", self.keyspace),
            PATIENCE,
        );
    }
}

/// Services that run, each under its name.
#[derive(Debug)]
pub struct Service {
    /// How it is started again.
    pub role: Role,
    /// What runs now.
    pub process: Process,
}

impl Service {
    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// Those of [`Role::start`].
    pub fn start(role: Role) -> anyhow::Result<Self> {
        let process = role.start(PATIENCE)?;
        Ok(Self { role, process })
    }

    /// The sum of a metric over its labels; 0 where it is not there.
    ///
    /// # Errors
    /// If it has no admin port, or that does not answer.
    pub fn metric(&self, name: &str) -> anyhow::Result<u64> {
        let admin = self.role.admin.context("a role without an admin port")?;
        let answer = client::get(admin, "/metrics", PATIENCE)?;
        let series = |line: &&str| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(['{', ' ']))
        };
        let value = |line: &str| {
            line.rsplit(' ')
                .next()
                .and_then(|value| value.parse::<u64>().ok())
        };
        Ok(answer.text().lines().filter(series).filter_map(value).sum())
    }

    /// Starts it again, in place of the process that was killed.
    ///
    /// # Errors
    /// Those of [`Role::start`].
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.process = self.role.start(PATIENCE)?;
        Ok(())
    }
}

fn engine(variable: &str) -> anyhow::Result<String> {
    std::env::var(variable)
        .with_context(|| format!("{variable} is not set: `make test` starts the engines and sets it"))
}

fn unique(scenario: &str) -> anyhow::Result<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros();
    Ok(format!("{scenario}-{now}"))
}

/// A port that is free now. Somebody else may take it before it is used; then the start fails with a clear word.
fn free_port() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
