package dex

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	accountsv1 "triodex.example/gen/go/dex/accounts/v1"
	ordersv1 "triodex.example/gen/go/dex/orders/v1"
)

const (
	payloadLifetime = 30 * time.Second
	retryPauseFirst = 50 * time.Millisecond
	retryPauseMax   = 2 * time.Second
)

// Client signs for one account over a connection the caller made (and made
// safe: TLS, or loopback).
type Client struct {
	NetworkID string
	AccountID string // empty before RegisterKey
	Key       ed25519.PrivateKey

	orders   ordersv1.OrderIntakeClient
	accounts accountsv1.AccountsClient
}

// NewClient makes a client of one network over a connection.
func NewClient(connection grpc.ClientConnInterface, networkID, accountID string, key ed25519.PrivateKey) *Client {
	return &Client{
		NetworkID: networkID,
		AccountID: accountID,
		Key:       key,
		orders:    ordersv1.NewOrderIntakeClient(connection),
		accounts:  accountsv1.NewAccountsClient(connection),
	}
}

// RegisterKey opens an account with the client's key; the client then acts for
// it. Doing it again finds the same account.
func (c *Client) RegisterKey(ctx context.Context) (string, error) {
	payload := &ordersv1.Payload{Action: &ordersv1.Payload_RegisterKey{
		RegisterKey: &ordersv1.KeyRegistration{PublicKey: publicBytes(c.Key)},
	}}
	envelope, err := c.sign(payload)
	if err != nil {
		return "", err
	}
	request := &accountsv1.RegisterKeyRequest{Envelope: envelope}
	answer, err := retried(ctx, request, c.accounts.RegisterKey)
	if err != nil {
		return "", err
	}
	c.AccountID = answer.GetAccountId()
	return c.AccountID, nil
}

// PlaceOrder signs and places one order. A refusal is a gRPC status whose
// ErrorInfo gives the reason.
func (c *Client) PlaceOrder(ctx context.Context, order *ordersv1.NewOrder) (*ordersv1.PlaceOrderResponse, error) {
	envelope, err := c.sign(&ordersv1.Payload{
		AccountId: c.AccountID,
		Action:    &ordersv1.Payload_Place{Place: order},
	})
	if err != nil {
		return nil, err
	}
	return retried(ctx, &ordersv1.PlaceOrderRequest{Envelope: envelope}, c.orders.PlaceOrder)
}

// sign completes a payload with network, nonce and expiry, and signs its bytes.
func (c *Client) sign(payload *ordersv1.Payload) (*ordersv1.SignedEnvelope, error) {
	var random [8]byte
	if _, err := rand.Read(random[:]); err != nil {
		return nil, err
	}
	payload.NetworkId = c.NetworkID
	payload.Nonce = max(1, int64(binary.BigEndian.Uint64(random[:])>>1))
	payload.ExpireTime = timestamppb.New(time.Now().Add(payloadLifetime))
	data, err := proto.Marshal(payload)
	if err != nil {
		return nil, err
	}
	return SignPayload(c.Key, data), nil
}

// retried sends the same envelope until it is answered, refused, or expired: the
// node answers a retry with the first result.
func retried[Q, A any](
	ctx context.Context,
	request Q,
	call func(context.Context, Q, ...grpc.CallOption) (A, error),
) (A, error) {
	ctx, cancel := context.WithTimeout(ctx, payloadLifetime)
	defer cancel()
	for pause := retryPauseFirst; ; pause = min(2*pause, retryPauseMax) {
		answer, err := call(ctx, request)
		if status.Code(err) != codes.Unavailable {
			return answer, err
		}
		select {
		case <-ctx.Done():
			return answer, err
		case <-time.After(pause):
		}
	}
}
