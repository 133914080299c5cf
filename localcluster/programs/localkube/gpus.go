package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	devices "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

const gpuResource = "nvidia.com/gpu"

// gpuPlugin advertises GPUs that don't exist: the scheduler counts them and each is given to one
// pod at a time, which is told by NVIDIA_VISIBLE_DEVICES which one it has, as NVIDIA's plugin does.
type gpuPlugin struct {
	devices.UnimplementedDevicePluginServer
	ids []*devices.Device
}

// serveGPUs registers with the kubelet and returns once that has restarted and forgotten the
// plugin: the supervisor starts it again. A kubelet that starts removes the sockets of plugins;
// whether its own is another can't be told from the inode, which may be used again.
func serveGPUs(args []string) error {
	flags := flag.NewFlagSet("gpus", flag.ExitOnError)
	count := flags.Int("count", 2, "how many GPUs the node says it has")
	if err := flags.Parse(args); err != nil {
		return err
	}
	plugin := &gpuPlugin{}
	for i := range *count {
		plugin.ids = append(plugin.ids,
			&devices.Device{ID: fmt.Sprintf("GPU-%d", i), Health: devices.Healthy})
	}
	_, err := os.Stat(devices.KubeletSocket)
	for ; os.IsNotExist(err); _, err = os.Stat(devices.KubeletSocket) {
		time.Sleep(100 * time.Millisecond) // the kubelet is starting
	}
	if err != nil {
		return err
	}
	socket := filepath.Join(devices.DevicePluginPath, "elastic-gpus.sock")
	if err := os.Remove(socket); err != nil && !os.IsNotExist(err) {
		return err
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	devices.RegisterDevicePluginServer(server, plugin)
	go func() {
		if err := server.Serve(listener); err != nil {
			fmt.Fprintln(os.Stderr, "gpus:", err)
			os.Exit(1)
		}
	}()
	if err := register(filepath.Base(socket)); err != nil {
		return err
	}
	fmt.Printf("registered %d x %s\n", *count, gpuResource)
	for range time.Tick(time.Second) {
		if _, err := os.Stat(socket); err != nil {
			return fmt.Errorf("the kubelet restarted; registering again")
		}
	}
	return nil
}

func register(endpoint string) error {
	connection, err := grpc.NewClient("unix://"+devices.KubeletSocket,
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, err = devices.NewRegistrationClient(connection).Register(ctx, &devices.RegisterRequest{
		Version: devices.Version, Endpoint: endpoint, ResourceName: gpuResource})
	return err
}

func (p *gpuPlugin) GetDevicePluginOptions(
	context.Context, *devices.Empty,
) (*devices.DevicePluginOptions, error) {
	return &devices.DevicePluginOptions{}, nil
}

func (p *gpuPlugin) ListAndWatch(
	_ *devices.Empty, stream grpc.ServerStreamingServer[devices.ListAndWatchResponse],
) error {
	if err := stream.Send(&devices.ListAndWatchResponse{Devices: p.ids}); err != nil {
		return err
	}
	<-stream.Context().Done() // the GPUs never change
	return nil
}

func (p *gpuPlugin) Allocate(
	_ context.Context, request *devices.AllocateRequest,
) (*devices.AllocateResponse, error) {
	response := &devices.AllocateResponse{}
	for _, container := range request.ContainerRequests {
		response.ContainerResponses = append(response.ContainerResponses,
			&devices.ContainerAllocateResponse{Envs: map[string]string{
				"NVIDIA_VISIBLE_DEVICES": strings.Join(container.DevicesIds, ",")}})
	}
	return response, nil
}
