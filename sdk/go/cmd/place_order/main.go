// Command place_order places one signed limit order and prints the answer as
// JSON. Without -account it opens an account with the key and prints its id.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protojson"

	ordersv1 "triodex.example/gen/go/dex/orders/v1"
	"triodex.example/sdk/go/dex"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	address := flag.String("address", "127.0.0.1:7400", "the node's gRPC address")
	network := flag.String("network", "triodex-demo", "the network the order is for")
	account := flag.String("account", "", "the account that acts; empty: open one")
	keyPath := flag.String("key", "", "PEM file of the account's Ed25519 key")
	ca := flag.String("ca", "", "PEM file of the CA; empty: plaintext, for loopback only")
	market := flag.String("market", "BTC-USDC.eth", "the market")
	side := flag.String("side", "BUY", "BUY or SELL")
	price := flag.Int64("price-ticks", 0, "limit price in ticks")
	quantity := flag.Int64("quantity-lots", 0, "size in lots")
	flag.Parse()

	key, err := dex.LoadKey(*keyPath)
	if err != nil {
		return err
	}
	security := insecure.NewCredentials()
	if *ca != "" {
		if security, err = credentials.NewClientTLSFromFile(*ca, ""); err != nil {
			return err
		}
	}
	connection, err := grpc.NewClient(*address, grpc.WithTransportCredentials(security))
	if err != nil {
		return err
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	client := dex.NewClient(connection, *network, *account, key)
	if *account == "" {
		opened, err := client.RegisterKey(ctx)
		if err != nil {
			return err
		}
		fmt.Printf("{\"accountId\":%q}\n", opened)
		return nil
	}
	answer, err := client.PlaceOrder(ctx, &ordersv1.NewOrder{
		MarketId:     *market,
		Side:         ordersv1.Side(ordersv1.Side_value["SIDE_"+*side]),
		Type:         ordersv1.OrderType_ORDER_TYPE_LIMIT,
		TimeInForce:  ordersv1.TimeInForce_TIME_IN_FORCE_GTC,
		PriceTicks:   *price,
		QuantityLots: *quantity,
	})
	if err != nil {
		return err
	}
	fmt.Println(protojson.MarshalOptions{}.Format(answer))
	return nil
}
