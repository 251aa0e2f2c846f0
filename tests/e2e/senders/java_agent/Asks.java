import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.util.logging.Logger;

/** A program that knows nothing of OpenTelemetry: asks ASKED so many times, and logs each. */
public class Asks {
  public static void main(String[] arguments) throws Exception {
    HttpClient client = HttpClient.newHttpClient();
    HttpRequest request = HttpRequest.newBuilder(URI.create(System.getenv("ASKED"))).build();
    for (int left = Integer.parseInt(System.getenv("TIMES")); left > 0; left--) {
      client.send(request, BodyHandlers.ofString());
      Logger.getLogger("asks").warning("asked");
    }
  }
}
