package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"math/rand"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
)

var endings = []string{"goaway", "rst", "fin", "rststream"}

func runClient(o *Options) {
	config := o.tlsConfig(false)
	var group sync.WaitGroup
	work := make(chan int)
	for range o.concurrency {
		group.Go(func() {
			for range work {
				if err := one(o, config); err != nil {
					if counts.Failed.Add(1) < 4 {
						fmt.Fprintln(os.Stderr, err)
					}
					time.Sleep(20 * time.Millisecond) // The server is being started anew.
				} else {
					counts.Connections.Add(1)
				}
			}
		})
	}
	for i := range o.connections {
		if o.ending == "kill" && i == o.connections-1 {
			time.Sleep(time.Duration(rand.Intn(10)) * time.Millisecond)
			die()
		}
		work <- i
	}
	close(work)
	group.Wait()
}

func one(o *Options, config *tls.Config) error {
	if o.ending == "grpc" {
		return oneOfGrpc(o, config)
	}
	conn, tcp, err := dial(o, config)
	if err != nil {
		return err
	}
	w, err := openClient(conn, o.token)
	if err != nil {
		return err
	}
	bursts := rand.Intn(4)
	if o.calls > 0 {
		bursts = max(1, o.calls/4)
	}
	for range bursts {
		burst := 1 + rand.Intn(4)
		if o.calls > 0 {
			burst = 4
		}
		for range burst {
			w.call(true)
		}
		if w.await(burst) < burst {
			_ = conn.Close()
			if o.refused {
				return nil // The server has ended it, as it is to.
			}
			return fmt.Errorf("an ordinary call was not answered")
		}
	}
	if o.hold > 0 {
		time.Sleep(o.hold)
	}
	var open []uint32
	if o.state == "load" {
		for range 1 + rand.Intn(8) {
			open = append(open, w.call(rand.Intn(2) == 0))
		}
		if rand.Intn(3) == 0 {
			time.Sleep(time.Duration(rand.Intn(4)) * time.Millisecond)
		}
	}
	ending := o.ending
	if ending == "mixed" {
		ending = pick(endings)
	}
	switch ending {
	case "goaway":
		codes := []http2.ErrCode{http2.ErrCodeNo, http2.ErrCodeNo, http2.ErrCodeEnhanceYourCalm, http2.ErrCodeInternal}
		w.write(func() { _ = w.framer.WriteGoAway(uint32(rand.Intn(300)), pick(codes), []byte("bye")) })
		if rand.Intn(2) == 0 {
			for _, id := range open {
				w.write(func() { _ = w.framer.WriteRSTStream(id, http2.ErrCodeCancel) })
			}
		}
		if rand.Intn(2) == 0 {
			discard(conn, 20*time.Millisecond)
		}
		_ = conn.Close()
	case "rst":
		reset(tcp)
	case "fin":
		if half, ok := conn.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		}
		_ = tcp.CloseWrite()
		waitClosed(w, 500*time.Millisecond)
		_ = conn.Close()
	case "rststream":
		for range 4 {
			open = append(open, w.call(rand.Intn(2) == 0))
		}
		for _, id := range open {
			w.write(func() {
				_ = w.framer.WriteRSTStream(id, pick([]http2.ErrCode{http2.ErrCodeCancel, http2.ErrCodeNo, http2.ErrCodeInternal}))
			})
			if rand.Intn(4) == 0 { // Once more, which is a fault of the peer, and frames for a stream that is gone.
				w.write(func() {
					_ = w.framer.WriteRSTStream(id, http2.ErrCodeCancel)
					_ = w.framer.WriteWindowUpdate(id, 1000)
				})
			}
		}
		waitClosed(w, time.Duration(rand.Intn(20))*time.Millisecond)
		_ = conn.Close()
	case "kill":
		go func() { // Stays open until the process dies.
			for range w.answers {
			}
		}()
	}
	return nil
}

func waitClosed(w *Wire, atMost time.Duration) {
	timer := time.NewTimer(atMost)
	defer timer.Stop()
	for {
		select {
		case isOk, open := <-w.answers:
			if !open {
				return
			}
			if isOk {
				counts.Answered.Add(1)
			}
		case <-timer.C:
			return
		}
	}
}

// raw hands messages over as they are.
type raw struct{}

func (raw) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (raw) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}
func (raw) Name() string { return "proto" }

// oneOfGrpc is an ordinary grpc-go channel that is closed, idle or with calls open.
func oneOfGrpc(o *Options, config *tls.Config) error {
	secure := insecure.NewCredentials()
	if config != nil {
		secure = credentials.NewTLS(config)
	}
	channel, err := grpc.NewClient("passthrough:"+o.addr, grpc.WithTransportCredentials(secure),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		}))
	if err != nil {
		return err
	}
	defer channel.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 120*time.Second)
	defer cancel()
	invoke := func(ctx context.Context) error {
		body, answer := plainMessage[5:], []byte(nil)
		options := []grpc.CallOption{grpc.ForceCodec(raw{})}
		if rand.Intn(2) == 0 {
			options = append(options, grpc.UseCompressor("gzip"))
		}
		counts.Calls.Add(1)
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+o.token)
		err := channel.Invoke(ctx, path, &body, &answer, options...)
		if err == nil {
			counts.Answered.Add(1)
		}
		return err
	}
	calls := 1 + rand.Intn(6)
	if o.calls > 0 {
		calls = o.calls
	}
	for range calls {
		if err := invoke(ctx); err != nil {
			return err
		}
	}
	if o.hold > 0 {
		time.Sleep(o.hold)
	}
	if o.state == "load" {
		for range 1 + rand.Intn(6) {
			short, stop := context.WithTimeout(ctx, time.Duration(500+rand.Intn(4000))*time.Microsecond)
			go func() { defer stop(); _ = invoke(short) }()
		}
		time.Sleep(time.Duration(rand.Intn(4000)) * time.Microsecond)
	}
	return nil
}
