// The far end of the gRPC soak, as a client or as a server: it speaks HTTP/2 frame by frame, or through grpc-go, and
// ends each connection in the way it is told. It prints what it counted as one line of JSON.
//
//	peer client -addr 127.0.0.1:4317 -ending rst -state load -connections 10000
//	peer server -ending goaway -state idle
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"math/rand"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// Options are the flags of both sides.
type Options struct {
	addr, ending, state, ca, cert, key, token string
	mutual, refused                           bool
	connections, concurrency, calls    int
	hold                               time.Duration
}

// Counts are printed each half second and at the end; a killed peer prints them just before it dies. Answered are calls
// with grpc-status 0.
type Counts struct {
	Connections, Calls, Answered, Failed atomic.Int64
}

var counts Counts

func printCounts() {
	line, _ := json.Marshal(map[string]int64{
		"connections": counts.Connections.Load(), "calls": counts.Calls.Load(),
		"answered": counts.Answered.Load(), "failed": counts.Failed.Load(),
	})
	fmt.Println(string(line))
}

func printEachHalfSecond() {
	for range time.Tick(500 * time.Millisecond) {
		printCounts()
	}
}

// die ends the process as a crash or an OOM kill does: nothing is flushed, the kernel closes the sockets.
func die() {
	printCounts()
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

func (o *Options) tlsConfig(server bool) *tls.Config {
	if o.ca == "" {
		return nil
	}
	pem, err := os.ReadFile(o.ca)
	if err != nil {
		log.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	config := &tls.Config{RootCAs: roots, ClientCAs: roots, ServerName: "localhost", NextProtos: []string{"h2"}}
	if server || o.mutual {
		pair, err := tls.LoadX509KeyPair(o.cert, o.key)
		if err != nil {
			log.Fatal(err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	if server && o.mutual {
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return config
}

func main() {
	log.SetFlags(0)
	var o Options
	flags := flag.NewFlagSet("peer", flag.ExitOnError)
	flags.StringVar(&o.addr, "addr", "127.0.0.1:0", "the server's address")
	flags.StringVar(&o.ending, "ending", "goaway", "goaway, rst, fin, rststream, kill, grpc, or mixed")
	flags.StringVar(&o.state, "state", "idle", "idle or load: whether calls are open when the connection ends")
	flags.StringVar(&o.ca, "ca", "", "PEM file of the CA; empty is plain text")
	flags.StringVar(&o.cert, "cert", "", "PEM file of this side's certificate")
	flags.StringVar(&o.key, "key", "", "PEM file of this side's key")
	flags.StringVar(&o.token, "token", "", "what a client shows; empty is nothing")
	flags.BoolVar(&o.refused, "refused", false, "the token is none, so that the server ends each connection")
	flags.BoolVar(&o.mutual, "mutual", false, "whether clients show a certificate")
	flags.IntVar(&o.connections, "connections", 1000, "how many connections to open, or to end as a server before a kill")
	flags.IntVar(&o.concurrency, "concurrency", 16, "connections at a time")
	flags.IntVar(&o.calls, "calls", 0, "ordinary calls on each connection before it ends; 0 is a few")
	flags.DurationVar(&o.hold, "hold", 0, "how long each connection stays idle before it ends")
	if len(os.Args) < 2 {
		log.Fatal("Name a side: client or server")
	}
	_ = flags.Parse(os.Args[2:])
	go printEachHalfSecond()
	switch os.Args[1] {
	case "client":
		runClient(&o)
		printCounts()
	case "server":
		runServer(&o)
	default:
		log.Fatalf("No such side: %s", os.Args[1])
	}
}

func dial(o *Options, config *tls.Config) (net.Conn, *net.TCPConn, error) {
	var dialer net.Dialer
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	raw, err := dialer.DialContext(ctx, "tcp", o.addr)
	if err != nil {
		return nil, nil, err
	}
	tcp := raw.(*net.TCPConn)
	if config == nil {
		return tcp, tcp, nil
	}
	wrapped := tls.Client(tcp, config)
	if err := wrapped.HandshakeContext(ctx); err != nil {
		_ = tcp.Close()
		return nil, nil, err
	}
	return wrapped, tcp, nil
}

func reset(tcp *net.TCPConn) {
	_ = tcp.SetLinger(0)
	_ = tcp.Close()
}

func discard(conn net.Conn, atMost time.Duration) {
	_ = conn.SetReadDeadline(time.Now().Add(atMost))
	_, _ = io.Copy(io.Discard, conn)
}

func pick[T any](list []T) T { return list[rand.Intn(len(list))] }
