package dex

import (
	"crypto/ed25519"
	"encoding/base64"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	authv1 "triodex.example/gen/go/dex/auth/v1"
	ordersv1 "triodex.example/gen/go/dex/orders/v1"
)

const (
	payloadDomain = "triodex.payload.v1\x00"
	accessDomain  = "triodex.access.v1\x00"
)

// PayloadSigningBytes is what the signature of a SignedEnvelope covers.
func PayloadSigningBytes(payload []byte) []byte {
	return append([]byte(payloadDomain), payload...)
}

// AccessSigningBytes is what the signature of an AccessToken covers.
func AccessSigningBytes(grant []byte) []byte {
	return append([]byte(accessDomain), grant...)
}

// SignPayload signs a serialized Payload, exactly as it will travel.
func SignPayload(key ed25519.PrivateKey, payload []byte) *ordersv1.SignedEnvelope {
	return &ordersv1.SignedEnvelope{
		Payload:   payload,
		Signature: ed25519.Sign(key, PayloadSigningBytes(payload)),
		PublicKey: publicBytes(key),
	}
}

// VerifyPayload says whether an envelope's signature is one over its payload.
func VerifyPayload(envelope *ordersv1.SignedEnvelope) bool {
	return len(envelope.GetPublicKey()) == ed25519.PublicKeySize &&
		ed25519.Verify(envelope.GetPublicKey(), PayloadSigningBytes(envelope.GetPayload()), envelope.GetSignature())
}

// SignGrant signs a serialized AccessGrant.
func SignGrant(key ed25519.PrivateKey, grant []byte) *authv1.AccessToken {
	return &authv1.AccessToken{
		Grant:     grant,
		Signature: ed25519.Sign(key, AccessSigningBytes(grant)),
		PublicKey: publicBytes(key),
	}
}

// Authorization is the value of the `authorization` metadata that shows who
// reads an account: a token for one network that ends at expire, at most one
// hour ahead.
func Authorization(key ed25519.PrivateKey, networkID string, expire time.Time) (string, error) {
	grant, err := proto.Marshal(&authv1.AccessGrant{
		NetworkId:  networkID,
		ExpireTime: timestamppb.New(expire),
	})
	if err != nil {
		return "", err
	}
	return authorizationOf(SignGrant(key, grant))
}

func authorizationOf(token *authv1.AccessToken) (string, error) {
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(token)
	if err != nil {
		return "", err
	}
	return "Dex " + base64.RawURLEncoding.EncodeToString(data), nil
}

func publicBytes(key ed25519.PrivateKey) []byte {
	return key.Public().(ed25519.PublicKey)
}
