package interop;

import com.nimbusds.jose.JOSEException;
import com.nimbusds.jose.jwk.JWK;
import com.nimbusds.jose.jwk.JWKSelector;
import com.nimbusds.jose.jwk.JWKSet;
import com.nimbusds.jose.jwk.gen.RSAKeyGenerator;
import com.nimbusds.jose.jwk.source.JWKSource;
import com.nimbusds.jose.proc.SecurityContext;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.text.ParseException;
import java.util.ArrayList;
import java.util.List;
import java.util.UUID;

/** The keys of the server, in a file, so they outlive the process. The last one signs. */
class SigningKeys implements JWKSource<SecurityContext> {
    private final Path file;
    private volatile JWKSet keys = new JWKSet();

    SigningKeys(Path file) throws IOException, JOSEException, ParseException {
        this.file = file;
        if (Files.exists(file)) {
            keys = JWKSet.load(file.toFile());
        } else {
            Files.createDirectories(file.getParent());
            add();
        }
    }

    /** A new key signs; the others still verify. */
    synchronized void add() throws IOException, JOSEException {
        var all = new ArrayList<>(keys.getKeys());
        all.add(new RSAKeyGenerator(2048).keyID(UUID.randomUUID().toString()).generate());
        store(all);
    }

    /** Only the last key is left. */
    synchronized void drop() throws IOException {
        store(List.of(last(keys.getKeys())));
    }

    static JWK last(List<JWK> keys) {
        return keys.get(keys.size() - 1);
    }

    private void store(List<JWK> all) throws IOException {
        var next = new JWKSet(all);
        Files.writeString(file, next.toString(false));
        keys = next;
    }

    @Override
    public List<JWK> get(JWKSelector selector, SecurityContext context) {
        return selector.select(keys);
    }
}
