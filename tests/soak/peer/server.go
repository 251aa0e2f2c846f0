package main

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"math/rand"
	"net"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
)

var ended atomic.Int64

// runServer prints its port, and serves until its standard input ends.
func runServer(o *Options) {
	listener, err := net.Listen("tcp", o.addr)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("{\"port\":%d}\n", listener.Addr().(*net.TCPAddr).Port)
	config := o.tlsConfig(true)
	if o.ending == "grpc" {
		go serveGrpc(o, listener, config)
	} else {
		go serveWires(o, listener, config)
	}
	_, _ = io.Copy(io.Discard, bufio.NewReader(os.Stdin))
	printCounts()
}

func serveGrpc(o *Options, listener net.Listener, config *tls.Config) {
	age := 40 * time.Millisecond
	if o.state == "idle" {
		age = 20 * time.Millisecond
	}
	if o.hold > 0 {
		age = o.hold
	}
	options := []grpc.ServerOption{
		grpc.ForceServerCodec(raw{}),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: age, MaxConnectionAgeGrace: 10 * time.Millisecond}),
		grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
			var body []byte
			if err := stream.RecvMsg(&body); err != nil {
				return err
			}
			counts.Calls.Add(1)
			if rand.Intn(4) == 0 {
				time.Sleep(time.Duration(rand.Intn(3000)) * time.Microsecond)
			}
			empty := []byte{}
			return stream.SendMsg(&empty)
		}),
	}
	if config != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(config)))
	}
	log.Fatal(grpc.NewServer(options...).Serve(counted{listener}))
}

// counted is a listener that counts what it accepts.
type counted struct{ net.Listener }

func (l counted) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		counts.Connections.Add(1)
	}
	return conn, err
}

func serveWires(o *Options, listener net.Listener, config *tls.Config) {
	for {
		accepted, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			tcp := accepted.(*net.TCPConn)
			conn := net.Conn(tcp)
			if config != nil {
				conn = tls.Server(tcp, config)
			}
			counts.Connections.Add(1)
			serveWire(o, conn, tcp)
		}()
	}
}

// serveWire answers some calls, and then ends the connection in its way: with none open, or with some.
func serveWire(o *Options, conn net.Conn, tcp *net.TCPConn) {
	defer conn.Close()
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(conn, preface); err != nil {
		return
	}
	w := newWire(conn)
	w.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	_ = w.framer.WriteSettings()
	_ = w.framer.WriteWindowUpdate(0, 1<<28)
	left := 1 + rand.Intn(12)
	if o.state == "idle" {
		left = 1 + rand.Intn(4)
	}
	if o.calls > 0 {
		left = o.calls
	}
	var open []uint32
	for {
		frame, err := w.framer.ReadFrame()
		if err != nil {
			return
		}
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				_ = w.framer.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if !f.IsAck() {
				_ = w.framer.WritePing(true, f.Data)
			}
		case *http2.DataFrame:
			if len(f.Data()) > 0 {
				_ = w.framer.WriteWindowUpdate(f.StreamID, uint32(len(f.Data())))
			}
			if !f.StreamEnded() {
				continue
			}
			counts.Calls.Add(1)
			if o.state == "load" && rand.Intn(2) == 0 && len(open) < 3 {
				open = append(open, f.StreamID) // Is never answered.
			} else {
				w.headers(f.StreamID, false, ":status", "200", "content-type", "application/grpc")
				_ = w.framer.WriteData(f.StreamID, false, []byte{0, 0, 0, 0, 0})
				w.headers(f.StreamID, true, "grpc-status", "0")
				counts.Answered.Add(1)
			}
			if left--; left > 0 {
				continue
			}
			if o.state == "idle" {
				time.Sleep(time.Duration(1+rand.Intn(3)) * time.Millisecond)
			}
			if o.hold > 0 {
				time.Sleep(o.hold)
			}
			finish(o, w, conn, tcp, open, f.StreamID)
			return
		}
	}
}

func finish(o *Options, w *Wire, conn net.Conn, tcp *net.TCPConn, open []uint32, last uint32) {
	ending := o.ending
	if ending == "mixed" {
		ending = pick(endings)
	}
	switch ending {
	case "goaway":
		switch rand.Intn(4) {
		case 0: // As grpc-go does at the end of a connection's age: a warning first, then the last stream.
			_ = w.framer.WriteGoAway(1<<31-1, http2.ErrCodeNo, nil)
			_ = w.framer.WriteGoAway(last, http2.ErrCodeNo, nil)
		case 1:
			_ = w.framer.WriteGoAway(225, http2.ErrCodeNo, nil)
		case 2: // Refuses what is open.
			_ = w.framer.WriteGoAway(0, http2.ErrCodeEnhanceYourCalm, []byte("too_many_pings"))
		case 3:
			if len(open) > 0 {
				last = open[0]
			}
			_ = w.framer.WriteGoAway(last, http2.ErrCodeInternal, nil)
		}
		if rand.Intn(2) == 0 {
			discard(conn, 20*time.Millisecond)
		}
	case "rst":
		reset(tcp)
	case "fin":
		if half, ok := conn.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		}
		_ = tcp.CloseWrite()
		discard(conn, 500*time.Millisecond)
	case "rststream":
		for _, id := range open {
			_ = w.framer.WriteRSTStream(id, pick([]http2.ErrCode{http2.ErrCodeRefusedStream, http2.ErrCodeCancel, http2.ErrCodeInternal, http2.ErrCodeNo}))
			if rand.Intn(4) == 0 {
				_ = w.framer.WriteRSTStream(id, http2.ErrCodeCancel)
			}
		}
		discard(conn, time.Duration(rand.Intn(20))*time.Millisecond)
	case "kill":
		if ended.Add(1) >= int64(o.connections) {
			die()
		}
		discard(conn, 10*time.Second) // Stays open until the process dies.
	}
}
