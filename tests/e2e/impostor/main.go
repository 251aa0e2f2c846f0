// An impostor: it shows a client certificate whose key it does not have, as nothing but Go lets one do.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
)

func main() {
	text, err := os.ReadFile(os.Args[2])
	if err != nil {
		panic(err)
	}
	block, _ := pem.Decode(text)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	stolen := &tls.Certificate{Certificate: [][]byte{block.Bytes}, PrivateKey: key}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{
			InsecureSkipVerify: true,
			MinVersion:         version,
			MaxVersion:         version,
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				return stolen, nil
			},
		}}}
		response, err := client.Post(os.Args[1], "application/json", nil)
		if err != nil {
			fmt.Println("refused:", err)
			continue
		}
		fmt.Println("answered:", response.StatusCode)
		response.Body.Close()
	}
}
