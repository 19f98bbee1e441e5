package dex

import (
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	authv1 "triodex.example/gen/go/dex/auth/v1"
	klinev1 "triodex.example/gen/go/dex/kline/v1"
	ordersv1 "triodex.example/gen/go/dex/orders/v1"
)

func load(t *testing.T, name string, into any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "tests", "vectors", name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatal(err)
	}
}

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	data, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func number(t *testing.T, text string) int64 {
	t.Helper()
	value, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

type signed struct {
	Name         string          `json:"name"`
	Fields       json.RawMessage `json:"fields"`
	Seed         string          `json:"seed"`
	PublicKey    string          `json:"public_key"`
	Payload      string          `json:"payload"`
	SigningBytes string          `json:"signing_bytes"`
	Signature    string          `json:"signature"`
}

func TestSigning(t *testing.T) {
	var vectors struct {
		Accepted []signed `json:"accepted"`
		Refused  []signed `json:"refused"`
	}
	load(t, "signing.json", &vectors)
	if len(vectors.Accepted) == 0 || len(vectors.Refused) == 0 {
		t.Fatal("no vectors")
	}
	for _, vector := range vectors.Accepted {
		t.Run(vector.Name, func(t *testing.T) {
			payload := unhex(t, vector.Payload)
			equal(t, "signing bytes", hex.EncodeToString(PayloadSigningBytes(payload)), vector.SigningBytes)
			envelope := SignPayload(ed25519.NewKeyFromSeed(unhex(t, vector.Seed)), payload)
			equal(t, "signature", hex.EncodeToString(envelope.GetSignature()), vector.Signature)
			equal(t, "public key", hex.EncodeToString(envelope.GetPublicKey()), vector.PublicKey)
			equal(t, "verify", VerifyPayload(envelope), true)
			parsed, named := &ordersv1.Payload{}, &ordersv1.Payload{}
			if err := proto.Unmarshal(payload, parsed); err != nil {
				t.Fatal(err)
			}
			if string(vector.Fields) == "null" {
				return
			}
			if err := protojson.Unmarshal(vector.Fields, named); err != nil {
				t.Fatal(err)
			}
			equal(t, "the payload is what the fields say", proto.Equal(parsed, named), true)
		})
	}
	for _, vector := range vectors.Refused {
		t.Run(vector.Name, func(t *testing.T) {
			envelope := &ordersv1.SignedEnvelope{
				Payload:   unhex(t, vector.Payload),
				Signature: unhex(t, vector.Signature),
				PublicKey: unhex(t, vector.PublicKey),
			}
			equal(t, "verify", VerifyPayload(envelope), false)
		})
	}
}

func TestAccess(t *testing.T) {
	var vectors struct {
		Tokens []struct {
			Seed          string `json:"seed"`
			NetworkID     string `json:"network_id"`
			ExpireTimeNs  string `json:"expire_time_ns"`
			Grant         string `json:"grant"`
			SigningBytes  string `json:"signing_bytes"`
			Signature     string `json:"signature"`
			Authorization string `json:"authorization"`
		} `json:"tokens"`
	}
	load(t, "access.json", &vectors)
	for _, vector := range vectors.Tokens {
		key, grant := ed25519.NewKeyFromSeed(unhex(t, vector.Seed)), unhex(t, vector.Grant)
		equal(t, "signing bytes", hex.EncodeToString(AccessSigningBytes(grant)), vector.SigningBytes)
		token := SignGrant(key, grant)
		equal(t, "signature", hex.EncodeToString(token.GetSignature()), vector.Signature)
		header, err := authorizationOf(token)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "authorization", header, vector.Authorization)
		parsed := &authv1.AccessGrant{}
		if err := proto.Unmarshal(grant, parsed); err != nil {
			t.Fatal(err)
		}
		equal(t, "network", parsed.GetNetworkId(), vector.NetworkID)
		expire := parsed.GetExpireTime()
		want := expire.GetSeconds()*1_000_000_000 + int64(expire.GetNanos())
		equal(t, "expiry", want, number(t, vector.ExpireTimeNs))
		made, err := Authorization(key, vector.NetworkID, time.Unix(expire.GetSeconds(), int64(expire.GetNanos())))
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "made", made, vector.Authorization)
	}
}

func TestIDs(t *testing.T) {
	var vectors struct {
		IDs []struct {
			Shard    uint8  `json:"shard"`
			Epoch    uint16 `json:"epoch"`
			Sequence string `json:"sequence"`
			Index    uint16 `json:"index"`
			ID       string `json:"id"`
		} `json:"ids"`
		Invalid []string `json:"invalid"`
	}
	load(t, "ids.json", &vectors)
	for _, vector := range vectors.IDs {
		id := ID{vector.Shard, vector.Epoch, number(t, vector.Sequence), vector.Index}
		equal(t, "id", id.String(), vector.ID)
		parsed, err := ParseID(vector.ID)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "parsed", parsed, id)
	}
	for _, text := range vectors.Invalid {
		if _, err := ParseID(text); err == nil {
			t.Errorf("%q is no id", text)
		}
	}
}

func TestWindows(t *testing.T) {
	var vectors struct {
		Windows []struct {
			TimeNs     string `json:"time_ns"`
			Interval   string `json:"interval"`
			OpenTimeNs string `json:"open_time_ns"`
		} `json:"windows"`
	}
	load(t, "windows.json", &vectors)
	for _, vector := range vectors.Windows {
		interval := klinev1.Interval(klinev1.Interval_value[vector.Interval])
		open, err := OpenTimeNs(number(t, vector.TimeNs), interval)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, vector.Interval+" "+vector.TimeNs, open, number(t, vector.OpenTimeNs))
	}
}
