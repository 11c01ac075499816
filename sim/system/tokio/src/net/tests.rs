//! What a network does that production code must be ready for: each test is a simulation of two hosts.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use madsim::runtime::{Handle, NodeHandle, Runtime};
use madsim_tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{TcpListener, TcpStream, lookup_host};
use crate::sim::{self, Clock, Link, Machines};
use crate::time::{sleep, timeout};

/// A simulation in a thread of its own, for each has its own network.
fn simulate<F: Future<Output = ()> + 'static>(
    seed: u64,
    machines: Machines,
    link: Link,
    run: impl FnOnce() -> F + Send + 'static,
) {
    let simulation = std::thread::spawn(move || {
        let runtime = Runtime::with_seed_and_config(seed, madsim::Config::default());
        runtime.block_on(async move {
            sim::begin(machines, link);
            run().await;
        });
    });
    simulation.join().expect("the simulation ends well");
}

fn host() -> (NodeHandle, u64) {
    let node = Handle::current().create_node().build();
    let id = node.id().to_string().parse().expect("a number");
    (node, id)
}

fn at(host: u64) -> SocketAddr {
    SocketAddr::new(sim::address(host), 80)
}

/// Accepts one connection and does something with it.
fn serve<F: Future<Output = ()> + Send + 'static>(
    node: &NodeHandle,
    act: impl FnOnce(TcpStream) -> F + Send + 'static,
) {
    node.spawn(async move {
        let listener = TcpListener::bind(SocketAddr::from(([0, 0, 0, 0], 80))).await.expect("free");
        act(listener.accept().await.expect("accepted").0).await;
    });
}

/// Does something on a host and waits for it.
async fn on<F: Future<Output = ()> + Send + 'static>(node: &NodeHandle, act: F) {
    node.spawn(async move {
        sleep(Duration::from_millis(5)).await;
        act.await;
    })
    .await
    .expect("it ends well");
}

#[test]
fn what_is_written_in_parts_over_a_lossy_link_arrives_whole() {
    let machines = Machines { partial: 40, segment: 700, receive_buffer: 3_000, ..Machines::default() };
    let link = Link { loss: 80, ..Link::default() };
    for seed in 0..20 {
        simulate(seed, machines, link, || async {
            let ((server, s), (client, _)) = (host(), host());
            serve(&server, |mut stream| async move {
                let mut all = Vec::new();
                stream.read_to_end(&mut all).await.expect("read");
                stream.write_all(&all).await.expect("written");
            });
            on(&client, async move {
                let mut stream = TcpStream::connect(at(s)).await.expect("connected");
                let sent: Vec<u8> = (0..60_000_u32).map(|n| (n % 251) as u8).collect();
                stream.write_all(&sent).await.expect("written");
                // Half closed: the answer comes all the same.
                stream.shutdown().await.expect("shut down");
                let mut back = Vec::new();
                stream.read_to_end(&mut back).await.expect("read");
                assert!(back == sent);
            })
            .await;
        });
    }
}

#[test]
fn what_was_lost_is_sent_again_while_the_program_keeps_writing() {
    simulate(1, Machines::default(), Link::default(), || async {
        let ((server, s), (client, c)) = (host(), host());
        let read = Arc::new(AtomicUsize::new(0));
        let counted = read.clone();
        serve(&server, |mut stream| async move {
            while stream.read_u8().await.is_ok() {
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        on(&client, async move {
            let mut stream = TcpStream::connect(at(s)).await.expect("connected");
            for nth in 0..100 {
                sim::set_link(c, s, Link { cut: nth == 10, ..Link::default() });
                stream.write_all(&[7]).await.expect("written");
                sleep(Duration::from_millis(100)).await;
            }
            let read = read.load(Ordering::Relaxed);
            assert!(read > 95, "{read} of 100 bytes came, 9 s after one was lost");
        })
        .await;
    });
}

#[test]
fn a_writer_waits_for_a_reader_who_does_not_read() {
    simulate(1, Machines::default(), Link::default(), || async {
        let ((server, s), (client, _)) = (host(), host());
        let read = Arc::new(AtomicUsize::new(0));
        let counted = read.clone();
        serve(&server, |mut stream| async move {
            sleep(Duration::from_secs(300)).await;
            let mut buffer = vec![0; 1024];
            while stream.read_exact(&mut buffer).await.is_ok() {
                counted.fetch_add(1024, Ordering::Relaxed);
            }
        });
        on(&client, async move {
            let mut stream = TcpStream::connect(at(s)).await.expect("connected");
            let mut taken = 0;
            let all = timeout(Duration::from_secs(200), async {
                loop {
                    taken += stream.write(&[7; 1024]).await.expect("written");
                }
            });
            assert!(all.await.is_err());
            assert_eq!(taken, 128 * 1024, "the buffers of both ends");
            // The reader begins, and the window opens.
            timeout(Duration::from_secs(130), stream.write_all(&vec![7; 512 * 1024]))
                .await
                .expect("in time")
                .expect("written");
        })
        .await;
        sleep(Duration::from_secs(5)).await;
        assert_eq!(read.load(Ordering::Relaxed), 640 * 1024);
    });
}

#[test]
fn nobody_there_refuses_and_a_cut_link_times_out() {
    simulate(1, Machines::default(), Link::default(), || async {
        let ((_server, s), (client, c)) = (host(), host());
        on(&client, async move {
            let begun = Instant::now();
            let refused = TcpStream::connect(at(s)).await.expect_err("nobody listens");
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
            assert!(begun.elapsed() < Duration::from_millis(10));
            sim::set_link(s, c, Link { cut: true, ..Link::default() });
            let begun = Instant::now();
            let late = TcpStream::connect(at(s)).await.expect_err("no answer comes back");
            assert_eq!(late.kind(), ErrorKind::TimedOut);
            assert!(begun.elapsed() > Duration::from_secs(10));
        })
        .await;
    });
}

#[test]
fn a_connection_lives_through_a_cut_that_heals() {
    simulate(1, Machines::default(), Link::default(), || async {
        let ((server, s), (client, c)) = (host(), host());
        serve(&server, |mut stream| async move {
            let byte = stream.read_u8().await.expect("read");
            stream.write_u8(byte + 1).await.expect("written");
            sleep(Duration::from_secs(60)).await;
        });
        on(&client, async move {
            let mut stream = TcpStream::connect(at(s)).await.expect("connected");
            sim::set_link(c, s, Link { cut: true, ..Link::default() });
            stream.write_u8(1).await.expect("taken by the machine");
            assert!(timeout(Duration::from_secs(20), stream.read_u8()).await.is_err());
            sim::set_link(c, s, Link::default());
            let answer = timeout(Duration::from_secs(20), stream.read_u8()).await.expect("in time");
            assert_eq!(answer.expect("read"), 2);
        })
        .await;
    });
}

#[test]
fn what_is_left_unread_resets_the_other_end() {
    simulate(1, Machines::default(), Link::default(), || async {
        let ((server, s), (client, _)) = (host(), host());
        serve(&server, |stream| async move {
            sleep(Duration::from_secs(1)).await;
            drop(stream);
        });
        on(&client, async move {
            let mut stream = TcpStream::connect(at(s)).await.expect("connected");
            stream.write_all(b"unread").await.expect("written");
            let reset = stream.read_u8().await.expect_err("reset");
            assert_eq!(reset.kind(), ErrorKind::ConnectionReset);
        })
        .await;
    });
}

#[test]
fn a_machine_without_power_is_silent_and_afterwards_knows_nothing() {
    simulate(1, Machines { give_up: 600, ..Machines::default() }, Link::default(), || async {
        let ((server, s), (client, _)) = (host(), host());
        serve(&server, |stream| async move {
            sleep(Duration::from_secs(1_000)).await;
            drop(stream);
        });
        let server = server.id();
        on(&client, async move {
            let mut stream = TcpStream::connect(at(s)).await.expect("connected");
            sim::off(s);
            Handle::current().kill(server);
            stream.write_u8(1).await.expect("taken by the machine");
            assert!(timeout(Duration::from_secs(60), stream.read_u8()).await.is_err(), "no word");
            sim::on(s);
            let reset = timeout(Duration::from_secs(15), stream.read_u8()).await.expect("in time");
            assert_eq!(reset.expect_err("unknown there").kind(), ErrorKind::ConnectionReset);
        })
        .await;
    });
}

#[test]
fn a_killed_program_leaves_its_connections_to_the_machine() {
    simulate(1, Machines::default(), Link::default(), || async {
        let ((server, s), (client, _)) = (host(), host());
        serve(&server, |mut stream| async move {
            stream.write_all(&[3; 50_000]).await.expect("written");
            sleep(Duration::from_secs(1_000)).await;
        });
        let server = server.id();
        on(&client, async move {
            let mut stream = TcpStream::connect(at(s)).await.expect("connected");
            sleep(Duration::from_secs(1)).await;
            sim::exit(s);
            Handle::current().kill(server);
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await.expect("what was written comes, and then the end");
            assert_eq!(all.len(), 50_000);
        })
        .await;
    });
}

#[test]
fn a_lost_connection_is_given_up_and_others_go_on() {
    simulate(1, Machines::default(), Link::default(), || async {
        let ((server, s), (client, _)) = (host(), host());
        serve(&server, |mut stream| async move {
            let lost = stream.read_u8().await.expect_err("it ends");
            assert_eq!(lost.kind(), ErrorKind::ConnectionReset);
        });
        on(&client, async move {
            let mut stream = TcpStream::connect(at(s)).await.expect("connected");
            sim::lose(sim::connection(&stream).expect("open"));
            stream.write_u8(1).await.expect("taken by the machine");
            let begun = Instant::now();
            let late = stream.read_u8().await.expect_err("given up");
            assert_eq!(late.kind(), ErrorKind::TimedOut);
            assert!(begun.elapsed() >= Duration::from_secs(120));
        })
        .await;
        let left = sim::connections(s);
        assert_eq!(left.len(), 1, "the other end waits for nothing, and knows nothing");
        sim::interrupt(left[0]);
        sleep(Duration::from_secs(1)).await;
        assert_eq!(sim::connections(s).len(), 0);
    });
}

#[test]
fn a_slow_link_takes_its_time() {
    let link = Link { bandwidth: 10_000, ..Link::default() };
    simulate(1, Machines::default(), link, || async {
        let ((server, s), (client, _)) = (host(), host());
        serve(&server, |mut stream| async move {
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await.expect("read");
            stream.write_u8(1).await.expect("written");
        });
        on(&client, async move {
            let begun = Instant::now();
            let mut stream = TcpStream::connect(at(s)).await.expect("connected");
            stream.write_all(&[1; 200_000]).await.expect("written");
            stream.shutdown().await.expect("shut down");
            stream.read_u8().await.expect("read");
            let took = begun.elapsed().as_secs_f64();
            assert!((20.0..22.0).contains(&took), "{took} s");
        })
        .await;
    });
}

#[test]
fn every_host_has_its_own_wall_clock() {
    simulate(1, Machines::default(), Link::default(), || async {
        let ((ahead, a), (right, _)) = (host(), host());
        sim::set_clock(a, Clock { offset: 5_000_000, drift: 0 });
        let shown = |node: &NodeHandle| node.spawn(async { SystemTime::now() });
        let (ahead, right) = (shown(&ahead).await.expect("shown"), shown(&right).await.expect("shown"));
        let off = ahead.duration_since(right).expect("ahead").as_secs_f64();
        assert!((4.9..5.1).contains(&off), "{off}");
    });
}

#[test]
fn writes_in_parts_do_not_become_ever_smaller() {
    let machines = Machines { partial: 30, send_buffer: 4_096, ..Machines::default() };
    let link = Link { bandwidth: 30_000, ..Link::default() };
    simulate(1, machines, link, || async {
        let ((server, s), (client, _)) = (host(), host());
        serve(&server, |mut stream| async move {
            stream.write_all(&[1; 300_000]).await.expect("written");
        });
        on(&client, async move {
            let begun = Instant::now();
            let mut stream = TcpStream::connect(at(s)).await.expect("connected");
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await.expect("read");
            let took = begun.elapsed().as_secs_f64();
            assert!((10.0..14.0).contains(&took), "{took} s");
        })
        .await;
    });
}

#[test]
fn a_stream_survives_that_options_are_set_on_what_stands_for_it() {
    simulate(1, Machines::default(), Link::default(), || async {
        let ((server, s), (client, _)) = (host(), host());
        serve(&server, |mut stream| async move {
            let mut some = [0; 4];
            stream.read_exact(&mut some).await.expect("read");
            stream.write_all(&some).await.expect("written");
        });
        on(&client, async move {
            let stream = TcpStream::connect(at(s)).await.expect("connected");
            let remote = stream.peer_addr().expect("an address");
            let standard = stream.into_std().expect("a socket");
            standard.set_nodelay(true).expect("set");
            // One that stands for nothing.
            let other = standard.try_clone().expect("cloned");
            assert_eq!(TcpStream::from_std(other).expect_err("it is no stream").kind(), ErrorKind::InvalidInput);
            let mut stream = TcpStream::from_std(standard).expect("the stream again");
            assert_eq!(stream.peer_addr().expect("an address"), remote);
            stream.write_all(b"ping").await.expect("written");
            let mut back = [0; 4];
            stream.read_exact(&mut back).await.expect("read");
            assert_eq!(&back, b"ping");
        })
        .await;
    });
}

#[test]
fn a_host_is_looked_up_by_number_alone() {
    simulate(1, Machines::default(), Link::default(), || async {
        let found: Vec<SocketAddr> = lookup_host(("10.1.2.3", 80)).await.expect("numbers").collect();
        assert_eq!(found, [SocketAddr::from(([10, 1, 2, 3], 80))]);
        let named = lookup_host(("a.name", 80)).await.err().map(|why| why.kind());
        assert_eq!(named, Some(ErrorKind::NotFound));
    });
}
